/**
 * Uploading what a task brings along, as the person sees it: a bar with rate and remaining time for what takes longer
 * than a second, one line at the beginning and one at the end of a large upload where there is no terminal. Used by
 * commands/sending.ts.
 */
import type { Uploads } from "../../shared/files.ts";
import { type UploadState, uploadSources } from "../files/upload.ts";
import { bytesText } from "../../shared/units.ts";
import { Rate, timeLeftText } from "../output/transfer-text.ts";
import type { Calls } from "../sdk/calls.ts";
import type { Context } from "./context.ts";

const quietMs = 1000;
const redrawMs = 100;
/** Bytes from which on an upload is mentioned where nobody watches a bar. */
const largeBytes = 16 * 1024 * 1024;

/** Draws one upload after another. */
class UploadDisplay {
  readonly #context: Context;
  readonly #cluster: string;
  #source: string | null = null;
  #phase: UploadState["phase"] | null = null;
  #startedAt = 0;
  #drawnAt = 0;
  #rate = new Rate();
  #mentioned = false;

  constructor(context: Context, cluster: string) {
    this.#context = context;
    this.#cluster = cluster;
  }

  show(state: UploadState): void {
    const now = performance.now();
    if (this.#source !== state.source) {
      this.#source = state.source;
      this.#phase = null;
      this.#startedAt = now;
      this.#mentioned = false;
    }
    if (this.#phase !== state.phase) {
      this.#phase = state.phase;
      this.#rate = new Rate();
    }
    this.#rate.add(state.done, now);
    const { screen } = this.#context;
    if (state.phase === "send" && state.total >= largeBytes && !this.#mentioned) {
      this.#mentioned = true;
      if (screen.progress.visible !== true) {
        screen.note(`Uploading '${state.source}' to ${this.#cluster}: ${bytesText(state.total)}...`);
      }
    }
    if (now - this.#startedAt >= quietMs && now - this.#drawnAt >= redrawMs) {
      this.#drawnAt = now;
      const perSecond = this.#rate.perSecond(now);
      const verb = state.phase === "read" ? "reading" : "uploading";
      const speed = perSecond === null ? "" : `, ${bytesText(perSecond)}/s`;
      const left = perSecond === null ? "" : timeLeftText((state.total - state.done) / perSecond);
      const count = `${bytesText(state.done)} of ${bytesText(state.total)}${speed}${left}`;
      screen.progress.show(state.done, state.total, `${verb} ${state.source}`, count);
    }
  }

  done(source: string, sentBytes: number): void {
    const { screen } = this.#context;
    screen.progress.clear();
    if (this.#source === source && this.#mentioned) {
      const seconds = (performance.now() - this.#startedAt) / 1000;
      screen.note(`Uploaded '${source}': ${bytesText(sentBytes)} in ${seconds.toFixed(1)} s.`);
    }
  }
}

/** Brings the sources to the cluster; resolves with the manifest of each. Rejects with a SkyError. */
export async function uploadTask(
  context: Context,
  calls: Pick<Calls, "files">,
  cluster: string,
  sources: readonly string[],
): Promise<Uploads> {
  const { screen, cwd, home } = context;
  const display = new UploadDisplay(context, cluster);
  try {
    const manifests = await uploadSources(calls.files, sources, {
      cwd,
      home,
      warn: (text) => {
        screen.progress.clear();
        screen.note(screen.noteColors.yellow(`Warning: ${text}`));
      },
      onProgress: (state) => display.show(state),
      onDone: ({ source, sentBytes }) => display.done(source, sentBytes),
    });
    return Object.fromEntries(manifests);
  } finally {
    screen.progress.clear();
  }
}
