import { type RefObject, useEffect, useState } from "react";
import { useSettings } from "@/hooks/settings";
import { kinds } from "@/lib/kind";
import { stackOrder } from "./bars";

export interface Colors {
  /** In the order of stackOrder. */
  kinds: string[];
  faint: string;
  muted: string;
  line: string;
  loss: string;
}

/** The theme's colors, as a canvas needs them. They follow the theme. */
export function useColors(element: RefObject<HTMLElement | null>): Colors | undefined {
  const { theme } = useSettings();
  const [colors, setColors] = useState<Colors>();
  // biome-ignore lint/correctness/useExhaustiveDependencies: the theme changes the computed styles
  useEffect(() => {
    const read = () => element.current && setColors(readColors(element.current));
    read();
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", read);
    return () => system.removeEventListener("change", read);
  }, [element, theme]);
  return colors;
}

function readColors(element: HTMLElement): Colors {
  // The computed value of a custom property still contains light-dark(); that of a color is resolved.
  const probe = document.createElement("span");
  element.append(probe);
  const read = (name: string) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const colors = {
    kinds: stackOrder.map((kind) => read(kinds[kind].color)),
    faint: read("--color-line"),
    muted: read("--color-muted"),
    line: read("--color-line"),
    loss: read("--color-loss"),
  };
  probe.remove();
  return colors;
}
