/**
 * The address of a bucket in its parts. Pure; what is in the bucket is for the tools that uri.ts and mounts.ts call.
 */

export interface Bucket {
  scheme: string;
  bucket: string;
  /** Without slashes at either end; empty: all of it. */
  key: string;
}

/** Null: it is no address of a bucket. */
export function bucketOf(uri: string): Bucket | null {
  const match = /^([a-z0-9]+):\/\/([^/]+)\/?(.*)$/u.exec(uri);
  const [, scheme = "", bucket = "", key = ""] = match ?? [];
  return match === null || bucket.startsWith("-") ? null : { scheme, bucket, key: key.replace(/\/+$/u, "") };
}
