import { createHash } from "node:crypto";
import { expect, test } from "./test";

test("a file is dropped anywhere, and becomes a session", async ({ page, backend }) => {
  const content = "MZ harmless";
  await page.goto("/");
  await page.getByText("No sessions yet").waitFor();
  const files = await page.evaluateHandle((text) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([text], "dropped.exe"));
    return transfer;
  }, content);
  await page.dispatchEvent("body", "dragenter", { dataTransfer: files });
  await page.getByText(/Drop the file to make a session/).waitFor();
  await page.dispatchEvent("body", "drop", { dataTransfer: files });

  const upload = page.getByRole("region", { name: "Uploads" });
  await upload.getByText("11 B, stored").waitFor();
  await upload.getByText(createHash("sha256").update(content).digest("hex")).waitFor();
  // No agent runs: the file is kept, and the reader is told.
  await upload.getByText(/agent/).waitFor();
  await page.getByRole("heading", { name: "dropped.exe" }).waitFor();
  const { sessions } = await backend.get<{ sessions: { id: string; file_name: string }[] }>("/api/sessions");
  const made = sessions.find((session) => session.file_name === "dropped.exe");
  expect(new URL(page.url()).pathname).toBe(`/sessions/${made?.id}`);
});
