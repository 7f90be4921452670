/**
 * Buckets that a task names by `name` and `store` in place of an address. Pure. A bucket is never made and never
 * deleted: what is named must be there. Called by shared/task-files.ts.
 */

/** Schemes by SkyPilot's names of stores; the others' addresses cannot be told from a bucket's name alone. */
const schemes: Readonly<Record<string, string>> = {
  s3: "s3",
  gcs: "gs",
  r2: "r2",
  oci: "oci",
  nebius: "nebius",
  coreweave: "cw",
};
const bucketName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,221}$/;

/** The bucket's address, or what is missing to know it. */
export function storeSource(
  name: string | null,
  store: string | null,
  subPath: string | null,
): { uri: string } | { problem: string } {
  if (name === null) {
    return { problem: "A mount needs a 'source': a path of your machine, or the address of a bucket." };
  }
  const scheme = store === null ? undefined : schemes[store];
  if (scheme === undefined) {
    return {
      problem:
        "A bucket by 'name' alone cannot be found, and none is made here: give its address as 'source', such as " +
        `s3://NAME, or its 'store' (${Object.keys(schemes).join(", ")}).`,
    };
  }
  if (!bucketName.test(name)) {
    return { problem: "'name' is not the name of a bucket." };
  }
  return { uri: `${scheme}://${name}${subPath === null ? "" : `/${subPath}`}` };
}
