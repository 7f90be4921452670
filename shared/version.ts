/**
 * Which build this is. The build script replaces the two names below with constants; when sources run unbundled (tests,
 * tsx) the fallbacks hold. It must never read a file or ask git: the answer is fixed when the bundle is made.
 * Used by every program's `--version` and first log line, by hello and welcome frames and by the API's health reply.
 */
declare const __SKY_VERSION__: string | undefined;
declare const __SKY_COMMIT__: string | undefined;

/** The package's version, e.g. `0.1.0`; `0.0.0-source` when not bundled. */
export const version: string = typeof __SKY_VERSION__ === "string" ? __SKY_VERSION__ : "0.0.0-source";

/** The commit that was built (full hash, `-dirty` appended when the tree differed from it); `unknown` when not bundled. */
export const commit: string = typeof __SKY_COMMIT__ === "string" ? __SKY_COMMIT__ : "unknown";

/**
 * One word for this build, e.g. `0.2.0-bad75c0` or `0.2.0-bad75c0-dirty`: what frames between our programs carry, and
 * the folder of a release. Two builds of the same version are different builds.
 */
export const build: string = `${version}-${commit.slice(0, 7)}${commit.endsWith("-dirty") ? "-dirty" : ""}`;

/** What `--version` prints, e.g. `sky-agent 0.2.0 (bad75c0…)` with the whole hash; the same form for every program. */
export function versionText(program: string): string {
  return `${program} ${version} (${commit})`;
}
