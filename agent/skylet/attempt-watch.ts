/**
 * Watches one attempt's folder and says how the attempt stands whenever that has changed: an end at once, progress a
 * little later, because of a job that ends at once only the end matters. It reads the folder and /proc only, and never
 * touches the runner. Made by attempts.ts, one for each attempt.
 */
import { type FSWatcher, watch } from "node:fs";
import type { SkyletAttempt } from "../../shared/skylet-wire.ts";
import { type AttemptSpec, readStanding, type Runner, type Standing } from "./attempt-folder.ts";

export interface WatchOwner {
  /** For the agent. */
  tell(snapshot: SkyletAttempt): void;
  /** It stands otherwise than before; comes before the agent is told of progress. */
  onChange(): void;
  /** Once, when its runner has ended. */
  onEnd(): void;
  /** Attempts that live beside it. */
  neighbours(): number;
}

/**
 * How long progress is held back, in milliseconds: the more attempts there are, the longer. Each word of it costs a write
 * on this machine and one on the head.
 */
const hold = { least: 10, perNeighbour: 4, most: 250 };

export class AttemptWatch {
  private readonly folder: string;
  private readonly spec: AttemptSpec;
  private readonly runner: Runner;
  private readonly bootId: string;
  private readonly owner: WatchOwner;
  private watcher: FSWatcher | null = null;
  /** What was last seen, and what of it the agent was last told. */
  private seen = "";
  private told = "";
  private next: NodeJS.Immediate | null = null;
  private held: NodeJS.Timeout | null = null;
  private ended = false;
  private closed = false;

  constructor(folder: string, spec: AttemptSpec, runner: Runner, bootId: string, owner: WatchOwner) {
    this.folder = folder;
    this.spec = spec;
    this.runner = runner;
    this.bootId = bootId;
    this.owner = owner;
  }

  standing(): Standing {
    return readStanding(this.folder, this.spec, this.runner, this.bootId);
  }

  /** `isKnown`: the agent hears in another way how it stands now; one that is dead already is still news. */
  begin(isKnown: boolean): void {
    const { snapshot, alive } = this.standing();
    if (isKnown && alive) {
      this.seen = JSON.stringify(snapshot);
      this.told = this.seen;
    }
    try {
      this.watcher = watch(this.folder, () => this.checkSoon());
      this.watcher.on("error", () => this.watcher?.close());
    } catch {
      // Where the kernel has no watch left, a look each second finds the change.
      this.watcher = null;
    }
  }

  /** Nothing is watched or said any more. */
  close(): void {
    this.closed = true;
    this.watcher?.close();
    clearImmediate(this.next ?? undefined);
    clearTimeout(this.held ?? undefined);
  }

  /** Says what has changed since it was last said. */
  check(): void {
    if (this.closed || this.ended) {
      return;
    }
    // One that ended at its gate is told as starting without a pid: the agent asks for another.
    const { snapshot, alive } = this.standing();
    const text = JSON.stringify(snapshot);
    if (snapshot.state === "exited" || !alive) {
      this.tell(snapshot, text);
    } else if (text !== this.told) {
      const wait = Math.min(hold.most, hold.least + hold.perNeighbour * this.owner.neighbours());
      this.held ??= setTimeout(() => this.tellHeld(), wait);
    }
    if (text !== this.seen) {
      this.seen = text;
      this.owner.onChange();
    }
    if (snapshot.state === "exited") {
      this.ended = true;
      this.owner.onEnd();
    }
  }

  /** Once for all changes that are there by then. */
  private checkSoon(): void {
    this.next ??= setImmediate(() => {
      this.next = null;
      this.check();
    });
  }

  private tellHeld(): void {
    const { snapshot } = this.standing();
    this.tell(snapshot, JSON.stringify(snapshot));
  }

  private tell(snapshot: SkyletAttempt, text: string): void {
    clearTimeout(this.held ?? undefined);
    this.held = null;
    if (text !== this.told) {
      this.told = text;
      this.owner.tell(snapshot);
    }
  }
}
