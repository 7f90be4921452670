/**
 * Times as SkyPilot writes them: `2 mins ago`, `1 hr ago`, durations `< 1 second`, `2s`, `1h 2m 3s`, `-` for nothing.
 * Pure; the caller gives the present moment. Used by the tables.
 */

/** `2 mins ago`. Both in seconds since 1970; null gives `-`. A time in the future (skewed clocks) counts as now. */
export function ago(time: number | null, now: number): string {
  if (time === null) {
    return "-";
  }
  const seconds = Math.max(0, Math.floor(now - time));
  const units: [number, string, string][] = [
    [86_400, "day", "days"],
    [3600, "hr", "hrs"],
    [60, "min", "mins"],
    [1, "sec", "secs"],
  ];
  for (const [size, one, many] of units) {
    const count = Math.floor(seconds / size);
    if (count >= 1) {
      return `${count} ${count === 1 ? one : many} ago`;
    }
  }
  return "just now";
}

/** `1h 2m 3s`; from a start (null gives `-`) to an end (null: still going on, counted until `now`). Seconds since 1970. */
export function duration(start: number | null, end: number | null, now: number): string {
  if (start === null) {
    return "-";
  }
  const seconds = Math.floor((end ?? now) - start);
  if (seconds < 1) {
    return "< 1 second";
  }
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  return parts
    .slice(first, first + 3)
    .map(([count, unit]) => `${count}${unit}`)
    .join(" ");
}

/** `2h`, `1h 30m`: without the parts that are nothing. */
export function roundSpan(seconds: number): string {
  return duration(0, seconds, 0).replace(/( 0[hms])+$/, "");
}

/** `2026-12-01 08:00` in this machine's time zone, with seconds where there are any. `time` in seconds since 1970. */
export function localTime(time: number): string {
  const at = new Date(Math.round(time) * 1000);
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const seconds = at.getSeconds() === 0 ? "" : `:${two(at.getSeconds())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}${seconds}`;
}
