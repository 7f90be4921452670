/**
 * The picture of a replay: four small groups of bars, one for each figure, one bar for each order. Plain SVG text without
 * anything to fetch; colours follow the reader's light or dark scheme. Pure; used by placement.ts.
 */
import type { Figures } from "./figures.ts";

const panels: { title: string; better: string; value: (one: Figures) => number; text: (value: number) => string }[] = [
  {
    title: "GPUs in use",
    better: "more is better",
    value: (one) => one.utilization * 100,
    text: (value) => `${value.toFixed(1)} %`,
  },
  {
    title: "mean wait",
    better: "less is better",
    value: (one) => one.meanWait / 3600,
    text: (value) => `${value.toFixed(2)} h`,
  },
  {
    title: "wait, 95th percentile",
    better: "less is better",
    value: (one) => one.p95Wait / 3600,
    text: (value) => `${value.toFixed(2)} h`,
  },
  {
    title: "Jain's fairness index",
    better: "more is better",
    value: (one) => one.jain,
    text: (value) => value.toFixed(3),
  },
];

const [panelWidth, panelHeight, barHeight, labelWidth] = [360, 116, 16, 100];
const barMax = panelWidth - labelWidth - 70;

const style = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .quiet { fill: #59636e; }
  .other { fill: #8c959f; }
  .ours { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .other { fill: #6e7681; }
    .ours { fill: #4493f8; }
  }`;

/** The SVG; the last row is drawn as ours. */
export function chartOf(rows: readonly [string, Figures][]): string {
  const drawn = panels.map((panel, index) => {
    const [x, y] = [(index % 2) * panelWidth, Math.floor(index / 2) * panelHeight];
    const values = rows.map(([, figures]) => panel.value(figures));
    const most = Math.max(...values, Number.MIN_VALUE);
    const bars = rows.map(([name], row) => {
      const value = values[row] as number;
      const top = 30 + row * (barHeight + 8);
      const width = Math.max(1, (value / most) * barMax);
      const kind = row === rows.length - 1 ? "ours" : "other";
      return [
        `<text x="${labelWidth - 8}" y="${top + 12}" text-anchor="end">${name}</text>`,
        `<rect class="${kind}" x="${labelWidth}" y="${top}" width="${width.toFixed(1)}" height="${barHeight}" rx="2"/>`,
        `<text x="${(labelWidth + width + 6).toFixed(1)}" y="${top + 12}">${panel.text(value)}</text>`,
      ].join("\n    ");
    });
    const head = `<text class="title" x="0" y="16">${panel.title} <tspan class="quiet" font-weight="400">${panel.better}</tspan></text>`;
    return `  <g transform="translate(${x + 8} ${y + 4})">\n    ${[head, ...bars].join("\n    ")}\n  </g>`;
  });
  const [width, height] = [2 * panelWidth + 16, Math.ceil(panels.length / 2) * panelHeight + 8];
  const label = rows.map(([name, one]) => `${name}: mean wait ${(one.meanWait / 3600).toFixed(2)} h`).join("; ");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${label}">
<style>${style}
</style>
${drawn.join("\n")}
</svg>
`;
}
