/**
 * Which build this is. The build script replaces the two names below with constants; when sources run unbundled (tests,
 * tsx) the fallbacks hold. It must never read a file or ask git: the answer is fixed when the bundle is made.
 * Used by every program's `--version`, by hello and welcome frames and by the API's health reply.
 */
declare const __SKY_VERSION__: string | undefined;
declare const __SKY_COMMIT__: string | undefined;

/** The package's version, e.g. `0.1.0`; `0.0.0-source` when not bundled. */
export const version: string = typeof __SKY_VERSION__ === "string" ? __SKY_VERSION__ : "0.0.0-source";

/** The commit that was built (full hash, `-dirty` appended when the tree differed from it); `unknown` when not bundled. */
export const commit: string = typeof __SKY_COMMIT__ === "string" ? __SKY_COMMIT__ : "unknown";
