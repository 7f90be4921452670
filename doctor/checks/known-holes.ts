/**
 * Versions below which known holes concern a machine that many users share. Data only; each row names the first fixed
 * version of a branch. A distribution may mend an older version without changing its number: checks ask its package
 * manager where that is so. Driver and toolkit
 * by bulletins until August 2026.
 */

interface Fixed {
  fixed: readonly [number, ...number[]];
  text: string;
  cves: string;
}

/** NVIDIA's display driver for Linux, by branch (first number), ascending. Source: NVIDIA's security bulletin of May 2026. */
export const nvidiaDrivers: readonly Fixed[] = [
  { fixed: [535, 309, 1], text: "535.309.01", cves: "CVE-2026-24187 and others" },
  { fixed: [580, 159, 3], text: "580.159.03", cves: "CVE-2026-24187 and others" },
  { fixed: [595, 71, 5], text: "595.71.05", cves: "CVE-2026-24187 and others" },
];

/** NVIDIA Container Toolkit, the newest hole last. Source: NVIDIA's security bulletins. */
export const nvidiaToolkit: readonly Fixed[] = [
  { fixed: [1, 16, 2], text: "1.16.2", cves: "CVE-2024-0132" },
  { fixed: [1, 17, 4], text: "1.17.4", cves: "CVE-2025-23359" },
  { fixed: [1, 17, 8], text: "1.17.8", cves: "CVE-2025-23266" },
  { fixed: [1, 19, 1], text: "1.19.1", cves: "CVE-2026-24260" },
];

/** Redis and Valkey as their makers release them: scripts of a client could run code in the server (CVE-2025-49844). */
export const redisServers: Record<"redis" | "valkey", readonly Fixed[]> = {
  redis: [
    { fixed: [6, 2, 20], text: "6.2.20", cves: "CVE-2025-49844" },
    { fixed: [7, 2, 11], text: "7.2.11", cves: "CVE-2025-49844" },
    { fixed: [7, 4, 6], text: "7.4.6", cves: "CVE-2025-49844" },
    { fixed: [8, 0, 4], text: "8.0.4", cves: "CVE-2025-49844" },
    { fixed: [8, 2, 2], text: "8.2.2", cves: "CVE-2025-49844" },
  ],
  valkey: [
    { fixed: [7, 2, 11], text: "7.2.11", cves: "CVE-2025-49844" },
    { fixed: [8, 0, 6], text: "8.0.6", cves: "CVE-2025-49844" },
    { fixed: [8, 1, 4], text: "8.1.4", cves: "CVE-2025-49844" },
  ],
};

/** Packages of Debian that carry the fixes under an old number. */
export const redisPackages: readonly { prefix: string; fixed: string }[] = [
  { prefix: "5:7.0.15-1~deb12u", fixed: "5:7.0.15-1~deb12u10" },
];
