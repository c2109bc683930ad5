import { ApiError, api, call } from "./client";
import type { components } from "./schema";

const patienceMillis = 15_000;
const lookMillis = 250;

/**
 * Starts a session and waits up to 15 s for the outcome. Throws an ApiError if the start failed. The
 * session may still be starting when this returns; its page then says what the start waits for.
 */
export async function startMonitoring(body: components["schemas"]["StartRequest"]): Promise<void> {
  await call(api.POST("/api/start-monitor", { params: { header: { Prefer: "respond-async" } }, body }));
  for (const until = Date.now() + patienceMillis; Date.now() < until; ) {
    const session = await call(
      api.GET("/api/sessions/{sessionId}", { params: { path: { sessionId: body.sessionId } } }),
    );
    if (session.state === "failed" && session.start_error) {
      throw new ApiError(session.start_error.text, session.start_error.code, 0);
    }
    if (session.state !== "starting") return;
    await new Promise((resolve) => setTimeout(resolve, lookMillis));
  }
}
