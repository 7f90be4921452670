/**
 * Storage that a task mounts, in the form of the Python SDK. It stands for an entry of a task file's `file_mounts` and
 * is checked there; nothing is created or uploaded by making one. Used by programs, through Task.setStorageMounts.
 */
import { NotSupportedError, ValueError } from "./exceptions.ts";
import { requireKnown } from "./fields.ts";

/** How a bucket's content reaches the node: all of it before the task starts, or mounted as a file system. */
export const StorageMode = { MOUNT: "MOUNT", COPY: "COPY", MOUNT_CACHED: "MOUNT_CACHED" } as const;
export type StorageMode = (typeof StorageMode)[keyof typeof StorageMode];

/** What makes a Storage. */
export interface StorageOptions {
  /** Refused unless `source` is given: on one's own machines no bucket is found by its name alone. */
  name?: string | null;
  /** A bucket's URI (`s3://…`, `gs://…`), an `https://` address, or a folder of this machine. */
  source?: string | null;
  /** Default: `COPY` for a local folder, which is always copied, else `MOUNT`. */
  mode?: StorageMode | null;
  /** Refused: buckets are neither made nor removed here. */
  stores?: readonly string[] | null;
  /** Only true, the default: what is in a bucket is never removed. */
  persistent?: boolean | null;
}

const known = new Set(["name", "source", "mode", "stores", "persistent"]);

/**
 * Storage that a task mounts. It never changes.
 *
 * @example
 * task.setStorageMounts({ "/tmp/imagenet": new sky.Storage({ source: "s3://imagenet", mode: "COPY" }) });
 */
export class Storage {
  readonly source: string;
  readonly mode: StorageMode;

  /**
   * @throws NotSupportedError for what would need a bucket to be made or removed
   * @throws ValueError for a mode that is none
   */
  constructor(options: StorageOptions) {
    requireKnown("Storage", options, known);
    const { source = null, mode = null, stores = null, persistent = null } = options;
    if (source === null || source === "") {
      throw new NotSupportedError("A Storage without a source would have to be a bucket that is made for it.", {
        hint: "Give the bucket's URI as source, or the name of a volume that your admin publishes as volumes of the task.",
      });
    }
    if (stores !== null || persistent === false) {
      throw new NotSupportedError("Buckets are neither made nor removed here: leave stores and persistent out.");
    }
    if (mode !== null && !Object.values(StorageMode).includes(mode)) {
      throw new ValueError(`'${mode.slice(0, 40)}' is no StorageMode; use MOUNT, COPY or MOUNT_CACHED.`);
    }
    this.source = source;
    this.mode = mode ?? (source.includes("://") ? "MOUNT" : "COPY");
    Object.freeze(this);
  }

  /** As a value of `file_mounts` in a task file. */
  toYamlConfig(): string | Record<string, unknown> {
    return this.source.includes("://") ? { source: this.source, mode: this.mode } : this.source;
  }
}
