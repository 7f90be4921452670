/**
 * Names of container images, so that two spellings of one image are one (`ubuntu` is `docker.io/library/ubuntu:latest`)
 * and two images are never taken for one. Pure; nothing is looked up, and a name that is none stays as it is. Called by
 * the comparison of policy values (values.ts) and by the adapter of tasks.
 */

const registryDefault = "docker.io";
/** Older names of the same registry. */
const registryAliases = ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];
const digestPattern = /^[a-z0-9+._-]+:[0-9a-f]{32,}$/i;
const lengthMax = 1000;

/**
 * Registry, path and tag, or registry, path and digest: with a digest the engine does not look at the tag, so it says
 * nothing. A text that names no image comes back as it is.
 */
export function normalImage(name: string): string {
  const text = name.trim().replace(/^docker:(?:\/\/)?/, "");
  const at = text.indexOf("@");
  const [named, digest] = at < 0 ? [text, null] : [text.slice(0, at), text.slice(at + 1)];
  if (named === "" || /\s/.test(text) || text.length > lengthMax || (digest !== null && !digestPattern.test(digest))) {
    return name;
  }
  const slash = named.indexOf("/");
  const first = slash < 0 ? "" : named.slice(0, slash);
  const isRegistry = /[.:]/.test(first) || first === "localhost";
  const host = isRegistry ? first.toLowerCase() : registryDefault;
  const registry = registryAliases.includes(host) ? registryDefault : host;
  const rest = isRegistry ? named.slice(slash + 1) : named;
  const colon = rest.indexOf(":", rest.lastIndexOf("/") + 1);
  const [path, tag] = colon < 0 ? [rest, "latest"] : [rest.slice(0, colon), rest.slice(colon + 1)];
  const full = registry === registryDefault && !path.includes("/") ? `library/${path}` : path;
  return digest === null ? `${registry}/${full}:${tag}` : `${registry}/${full}@${digest.toLowerCase()}`;
}

/** As the reader of `image_id` takes it: without the word that says that it is a container's. */
export function withoutWord(name: string): string {
  return name.replace(/^docker:(?!\/\/)/, "");
}

export function sameImage(one: string, other: string): boolean {
  return normalImage(one) === normalImage(other);
}
