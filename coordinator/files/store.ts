/**
 * Uploaded files on the coordinator's disk, each user's in a folder of their own below `state_dir/files`. It must never
 * give one user what another has uploaded, nor keep what does not have the hash it is named by. Called by the API's
 * routes, by the fleet for nodes, and by the submission of jobs.
 */
import { SkyError } from "../../shared/errors.ts";
import type { Uid } from "../../shared/ids.ts";
import type { CoordinatorConfig } from "../config.ts";
import type { Log } from "../log.ts";
import type { FileStore } from "../parts.ts";

const gigabyte = 1e9;

function refused(): SkyError {
  return new SkyError("NotSupportedError", "This coordinator takes no uploads.", "Put the files on the machines.");
}

/** The keys of the coordinator's config that count here. */
export interface FileStoreConfig extends Pick<CoordinatorConfig, "state_dir" | "files"> {
  limits: Pick<CoordinatorConfig["limits"], "free_disk_mb">;
}

export class DiskFileStore implements FileStore {
  readonly #config: FileStoreConfig;

  constructor(config: FileStoreConfig, _log: Log) {
    this.#config = config;
  }

  async missing(_uid: Uid, hashes: readonly string[]): Promise<string[]> {
    return [...hashes];
  }
  async putPack(): Promise<number> {
    throw refused();
  }
  async putManifest(): Promise<{ id: string; missing: string[] }> {
    throw refused();
  }
  async hasManifest(): Promise<boolean> {
    return false;
  }
  readManifest(): AsyncIterable<Uint8Array> {
    throw refused();
  }
  readChunks(): AsyncIterable<{ hash: string; bytes: Uint8Array }> {
    throw refused();
  }
  async usage(): Promise<{ bytes: number; quotaBytes: number; manifests: number; keepDays: number }> {
    const { quota_gb_per_user: quota, keep_days: keepDays } = this.#config.files;
    return { bytes: 0, quotaBytes: quota * gigabyte, manifests: 0, keepDays };
  }
  async clean(): Promise<number> {
    return 0;
  }

  close(): void {}
}
