import { memo, useLayoutEffect, useRef } from "react";
import { useSettings } from "@/hooks/settings";
import { formatDuration } from "@/lib/time";
import type { Bars, Range } from "./bars";
import { clock, zoneOffset } from "./clock";
import { draw, plotHeight } from "./draw";
import { useColors } from "./use-colors";

interface Props {
  width: number;
  range: Range;
  bars: Bars | undefined;
  total: Bars | undefined;
  losses: readonly Range[];
}

/** The bars. Everything that moves with the pointer is a layer above, so only new counts redraw the canvas. */
export const PlotCanvas = memo(function PlotCanvas({ width, range, bars, total, losses }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const { zone } = useSettings();
  const colors = useColors(place);
  useLayoutEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!canvas.current || !context || !colors || width === 0) return;
    const ratio = window.devicePixelRatio;
    const [wide, tall] = [Math.round(width * ratio), Math.round(plotHeight * ratio)];
    if (canvas.current.width !== wide || canvas.current.height !== tall) {
      canvas.current.width = wide;
      canvas.current.height = tall;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw(context, {
      width,
      range,
      bars,
      total,
      losses,
      colors,
      label: (micros, step) => clock(micros, step, zone),
      idleLabel: (micros) => `idle ${formatDuration(micros)}`,
      zoneOffset: zoneOffset(range.from, zone),
      font: "11px ui-sans-serif, system-ui, sans-serif",
    });
  }, [width, range, bars, total, losses, colors, zone]);
  return (
    <div ref={place}>
      <canvas ref={canvas} className="block" style={{ width, height: plotHeight }} aria-hidden />
    </div>
  );
});
