import { type Bars, barHeight, idleGaps, type Range, stackHeights, ticks } from "./bars";
import type { Colors } from "./use-colors";

export const plotHeight = 64;
export const axisHeight = 16;
/** The height above the bars, for the marks of losses. */
const topHeight = 6;

export interface Scene {
  width: number;
  range: Range;
  /** The counts of the selected events; total has all events. */
  bars: Bars | undefined;
  total: Bars | undefined;
  losses: readonly Range[];
  colors: Colors;
  /** Writes a time of the axis, whose marks are a step apart. */
  label: (micros: number, step: number) => string;
  idleLabel: (micros: number) => string;
  zoneOffset: number;
  font: string;
}

/** Draws the bars, the axis and the losses. */
export function draw(context: CanvasRenderingContext2D, scene: Scene): void {
  const { width, range, bars, total, colors } = scene;
  context.clearRect(0, 0, width, plotHeight);
  const bottom = plotHeight - axisHeight;
  const height = bottom - topHeight;
  const most = Math.max(1, total?.most ?? 0, bars?.most ?? 0);
  const x = (micros: number) => ((micros - range.from) / Math.max(1, range.to - range.from)) * width;

  const each = (of: Bars, paint: (index: number, left: number, wide: number) => void) => {
    for (const [index, start] of of.starts.entries()) {
      const left = x(start);
      // A gap of one pixel between bars if there is room; a bar is at least 1.5 pixels wide.
      const wide = Math.max(1.5, x(start + of.width) - left - 1);
      if (of.totals[index] !== 0 && left < width && left + wide > 0) paint(index, left, wide);
    }
  };

  drawAxis(context, scene, x);
  context.fillStyle = colors.faint;
  if (total) {
    each(total, (index, left, wide) => {
      const tall = barHeight(total.totals[index] ?? 0, most, height);
      context.fillRect(left, bottom - tall, wide, tall);
    });
  }
  if (bars) {
    each(bars, (index, left, wide) => {
      const tall = barHeight(bars.totals[index] ?? 0, most, height);
      let top = bottom;
      for (const [kind, part] of stackHeights(bars.counts[index] ?? [], tall).entries()) {
        if (part === 0) continue;
        context.fillStyle = colors.kinds[kind] ?? colors.muted;
        context.fillRect(left, top - part, wide, part);
        top -= part;
      }
    });
  }
  drawIdle(context, scene, x);
  drawLosses(context, scene, x);
}

type Place = (micros: number) => number;

function drawAxis(context: CanvasRenderingContext2D, scene: Scene, x: Place): void {
  const { width, range, colors, font, zoneOffset } = scene;
  const bottom = plotHeight - axisHeight;
  context.fillStyle = colors.line;
  context.fillRect(0, bottom, width, 1);
  context.font = font;
  context.textBaseline = "middle";
  context.textAlign = "center";
  const { step, at } = ticks(range, Math.max(2, width / 110), zoneOffset);
  for (const time of at) {
    const place = x(time);
    const text = scene.label(time, step);
    const half = context.measureText(text).width / 2;
    context.fillStyle = colors.line;
    context.fillRect(Math.round(place), bottom, 1, 4);
    if (place < half || place > width - half) continue;
    context.fillStyle = colors.muted;
    context.fillText(text, place, plotHeight - axisHeight / 2 + 1);
  }
}

/** Labels idle times with their length, if there is room. */
function drawIdle(context: CanvasRenderingContext2D, scene: Scene, x: Place): void {
  const all = scene.total ?? scene.bars;
  if (!all) return;
  context.fillStyle = scene.colors.muted;
  for (const gap of idleGaps(all, scene.range, 0.12)) {
    const text = scene.idleLabel(gap.to - gap.from);
    const [from, to] = [x(gap.from), x(gap.to)];
    if (context.measureText(text).width + 16 > to - from) continue;
    context.fillText(text, (from + to) / 2, (plotHeight - axisHeight) / 2 + 2);
  }
}

/** Draws a triangle and a hatched band where events were lost. */
function drawLosses(context: CanvasRenderingContext2D, { losses, colors, width }: Scene, x: Place): void {
  context.fillStyle = colors.loss;
  context.strokeStyle = colors.loss;
  context.lineWidth = 1;
  const bottom = plotHeight - axisHeight;
  for (const loss of losses) {
    const from = x(loss.from);
    const to = Math.max(from + 3, x(loss.to));
    if (to < 0 || from > width) continue;
    const middle = (from + to) / 2;
    context.globalAlpha = 0.5;
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, bottom);
    context.clip();
    context.beginPath();
    const first = Math.max(from, 0) - bottom;
    for (let left = first; left < Math.min(to, width); left += 5) {
      context.moveTo(left, bottom);
      context.lineTo(left + bottom, 0);
    }
    context.stroke();
    context.restore();
    context.globalAlpha = 1;
    context.fillRect(from, 0, to - from, 2);
    context.beginPath();
    context.moveTo(middle - 4, 0);
    context.lineTo(middle + 4, 0);
    context.lineTo(middle, 6);
    context.fill();
  }
}
