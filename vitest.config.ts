/**
 * Which tests there are: `unit` runs anywhere in seconds; the others name in their file's ending or folder what they
 * need. Read by vitest; scripts/check runs `unit`, `sim` and `wire`, scripts/test all.
 */
import { defineConfig } from "vitest/config";

const elsewhere = ["**/node_modules/**", "**/dist/**", "**/dist.*/**"];
const special = [
  "**/*.process.test.ts",
  "**/*.redis.test.ts",
  "**/*.sshd.test.ts",
  "test/sim/**",
  "test/wire/**",
  "test/e2e/**",
  "test/hosts/**",
];

function project(name: string, include: string[], exclude: string[], limitMs: number) {
  return { test: { name, include, exclude: [...elsewhere, ...exclude], testTimeout: limitMs, hookTimeout: limitMs } };
}

/** Whole machines: after all others, so that they hold up nobody, and two files at once, since they mostly wait. */
const hosts = {
  test: {
    ...project("hosts", ["test/hosts/**/*.test.ts"], [], 600_000).test,
    globalSetup: "test/hosts/around.ts",
    maxWorkers: 2,
    sequence: { groupOrder: 1 },
  },
};

export default defineConfig({
  test: {
    projects: [
      project("unit", ["**/*.test.ts"], special, 30_000),
      project("process", ["**/*.process.test.ts"], [], 60_000),
      project("redis", ["**/*.redis.test.ts"], [], 60_000),
      project("sshd", ["**/*.sshd.test.ts"], [], 60_000),
      project("sim", ["test/sim/**/*.test.ts"], [], 120_000),
      project("wire", ["test/wire/**/*.test.ts"], [], 30_000),
      project("e2e", ["test/e2e/**/*.test.ts"], [], 300_000),
      hosts,
    ],
  },
});
