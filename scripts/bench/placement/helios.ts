/**
 * Jobs in the shape of a published trace: the cluster Saturn of SenseTime's Helios, April to September 2020. Everything
 * named "published" is a number of its authors; what they did not publish is an assumption and named so. A smaller
 * cluster gets the same load per device. One seed is one list of jobs. Used by placement.ts.
 */
import { Chance } from "../../../test/sim/clock.ts";

/**
 * Published by Hu et al., "Characterization and Prediction of Deep Learning Workloads in Large-Scale GPU Datacenters"
 * (SC '21), as the summary table and the vector figures of github.com/S-Lab-System-Group/HeliosArtifact.
 */
const published = {
  devices: 2080,
  devicesPerNode: 8,
  gpuJobs: 698_896,
  days: 183,
  /** Device seconds of all GPU jobs: completed, cancelled and failed ones. */
  deviceSeconds: 14_375_709_962 + 10_733_792_235 + 2_542_859_066,
  users: 363,
  /** Seconds; over all GPU jobs. */
  meanSeconds: 5252.927,
  /** GPU jobs of at most so many devices, and their part of the device time, in per cent (figure 5). */
  sizes: [
    { devices: 1, jobs: 68.3, time: 5.4 },
    { devices: 2, jobs: 71.0, time: 7.1 },
    { devices: 4, jobs: 79.4, time: 12.7 },
    { devices: 8, jobs: 94.9, time: 40.2 },
    { devices: 16, jobs: 97.5, time: 57.7 },
    { devices: 24, jobs: 97.9, time: 59.9 },
    { devices: 32, jobs: 99.3, time: 84.2 },
    { devices: 64, jobs: 99.7, time: 92.9 },
    { devices: 128, jobs: 100, time: 100 },
  ],
  /** GPU jobs of at most 1, 2, 4, 8 … 2^21 seconds, in per cent (figure 4). */
  seconds: [
    7.2, 8.5, 10.9, 12.7, 17.3, 25.1, 35.9, 50.8, 61.6, 69.6, 76.3, 84.9, 88.7, 92.7, 95.6, 96.9, 98.1, 99.1, 99.7,
    99.9, 99.97, 100,
  ],
  /** GPU jobs submitted in each hour of the day, on average (figure 2). */
  hourly: [
    139, 143, 114, 105, 98, 91, 86, 85, 95, 138, 184, 199, 174, 185, 206, 235, 242, 219, 180, 186, 204, 196, 176, 180,
  ],
  /** Device time of the users with the most, of all users' (figure 8): [part of the users, part of the time]. */
  usersTime: [
    [0, 0],
    [0.006, 0.244],
    [0.014, 0.372],
    [0.03, 0.503],
    [0.05, 0.611],
    [0.099, 0.771],
    [0.152, 0.852],
    [0.198, 0.9],
    [0.298, 0.958],
    [0.41, 0.987],
    [0.617, 0.999],
    [1, 1],
  ],
} as const;

/** Assumed: no figures are published for these. */
export const assumed = {
  /** Of all nodes: the trace's nodes have two kinds, their parts are not published. */
  kinds: ["V100", "P100"],
  /** Jobs that ask for one kind; Alibaba's trace of 2023 has 33 % (cluster-trace-gpu-v2023). */
  oneKind: 0.33,
  cpusPerDevice: 6,
  cpusPerNode: 64,
  /** Time limits are the duration times a factor up to this, rounded up to one that people type. */
  limitFactorMax: 5,
  limitsHours: [0.25, 0.5, 1, 2, 4, 8, 12, 24, 48, 96, 168, 336, 720],
  /** Jobs without a time limit. */
  unlimited: 0.1,
  /** Largest job, as a part of the cluster. */
  largest: 0.25,
} as const;

export interface TraceJob {
  /** Seconds since the beginning. */
  at: number;
  user: number;
  /** Devices in all, and nodes. */
  devices: number;
  nodes: number;
  kind: string | null;
  seconds: number;
  limitSeconds: number | null;
}

/** Device seconds that the published jobs took, of those that there were: 0.84. */
const publishedLoad = published.deviceSeconds / (published.devices * published.days * 86_400);

/** Where a number from 0 to 1 lies in a table of cumulated parts, and how far into that entry. */
function placeIn(parts: readonly number[], value: number): { index: number; into: number } {
  const found = parts.findIndex((part) => part >= value);
  const index = found < 0 ? parts.length - 1 : found;
  const before = index === 0 ? 0 : (parts[index - 1] as number);
  const width = (parts[index] as number) - before;
  return { index, into: width <= 0 ? 1 : (value - before) / width };
}

const sizeParts = published.sizes.map((one) => one.jobs / 100);
const secondParts = published.seconds.map((one) => one / 100);

/** Mean seconds of the jobs of each size, as device time and counts give it. */
const secondsOfSize = published.sizes.map((one, index) => {
  const before = published.sizes[index - 1] ?? { jobs: 0, time: 0 };
  const deviceSeconds = published.deviceSeconds * (one.time - before.time);
  return deviceSeconds / (published.gpuJobs * (one.jobs - before.jobs)) / one.devices;
});

/** Seconds as the published distribution has them for all sizes together. */
function drawSeconds(chance: Chance): number {
  const { index, into } = placeIn(secondParts, chance.next());
  return index === 0 ? 1 : 2 ** (index - 1 + into);
}

/** Users' parts of the jobs: those of the device time. */
function userParts(users: number): number[] {
  const timeAt = (part: number): number => {
    const at = published.usersTime.findIndex(([left]) => left >= part);
    const [x1, y1] = published.usersTime[Math.max(1, at)] as readonly [number, number];
    const [x0, y0] = published.usersTime[Math.max(1, at) - 1] as readonly [number, number];
    return y0 + ((part - x0) / (x1 - x0)) * (y1 - y0);
  };
  return Array.from({ length: users }, (_, index) => timeAt((index + 1) / users));
}

function limitOf(chance: Chance, seconds: number): number | null {
  if (chance.happens(assumed.unlimited)) {
    return null;
  }
  const asked = (seconds * (1 + chance.next() * (assumed.limitFactorMax - 1))) / 3600;
  const hours = assumed.limitsHours.find((one) => one >= asked);
  return hours === undefined ? null : hours * 3600;
}

/**
 * Jobs of `days` days for a cluster of `nodes` nodes, ordered by time. `load`: offered device time of the device time
 * there is; null: as published, which is 0.84.
 */
export function drawTrace(seed: number, nodes: number, days: number, load: number | null): TraceJob[] {
  const chance = new Chance(seed);
  const devices = nodes * published.devicesPerNode;
  const scale = devices / published.devices;
  const parts = userParts(Math.max(2, Math.round(published.users * scale)));
  const jobs: TraceJob[] = [];
  const perHour = published.hourly.map((count) => count * scale);
  for (let hour = 0; hour < days * 24; hour += 1) {
    const rate = perHour[hour % 24] as number;
    for (let at = -Math.log(1 - chance.next()) / rate; at < 1; at += -Math.log(1 - chance.next()) / rate) {
      jobs.push(drawJob(chance, (hour + at) * 3600, parts, devices));
    }
  }
  const wanted = load ?? publishedLoad;
  const offered = jobs.reduce((sum, job) => sum + job.devices * job.seconds, 0) / (devices * days * 86_400);
  for (const job of jobs) {
    job.seconds = Math.max(1, Math.round((job.seconds * wanted) / offered));
    job.limitSeconds = limitOf(chance, job.seconds);
  }
  return jobs;
}

function drawJob(chance: Chance, at: number, parts: readonly number[], devicesThere: number): TraceJob {
  const { index } = placeIn(sizeParts, chance.next());
  const devices = Math.min((published.sizes[index] as { devices: number }).devices, devicesThere * assumed.largest);
  const factor = (secondsOfSize[index] as number) / published.meanSeconds;
  return {
    at,
    user: placeIn(parts, chance.next()).index,
    devices,
    nodes: Math.max(1, Math.ceil(devices / published.devicesPerNode)),
    kind: chance.happens(assumed.oneKind) ? chance.pick(assumed.kinds) : null,
    seconds: drawSeconds(chance) * factor,
    limitSeconds: null,
  };
}
