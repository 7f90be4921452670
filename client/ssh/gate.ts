/**
 * `sky gate`: runs on the head as the user and joins its stdin and stdout to the coordinator's socket, where sshd forbids
 * stream forwarding or the client uses the ssh program. It writes one mark before the first byte of the socket, so that
 * what a login shell prints is never taken for the coordinator's answer. It interprets nothing. Called by client/program.ts.
 */
import { createConnection } from "node:net";
import { pipeline } from "node:stream/promises";

/** Everything before it is noise of the user's shell. */
export const gateMark = "\u0001sky-gate 1\n";
/** Exit code when the socket cannot be reached; with 127 (no such command) the only ones that the client tells apart. */
export const gateSocketFailed = 69;

const connectLimitMs = 10_000;

/** Joins stdio to the socket until both directions have ended. Resolves with the exit code; writes why to stderr. */
export async function runGate(
  socketPath: string,
  input: NodeJS.ReadableStream = process.stdin,
  output: NodeJS.WritableStream = process.stdout,
  errors: NodeJS.WritableStream = process.stderr,
): Promise<number> {
  const socket = createConnection({ path: socketPath, allowHalfOpen: true });
  const limit = setTimeout(() => socket.destroy(new Error("no answer")), connectLimitMs);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "no answer";
    errors.write(`sky gate: cannot reach ${socketPath}: ${code}\n`);
    return gateSocketFailed;
  } finally {
    clearTimeout(limit);
  }
  output.write(gateMark);
  const down = pipeline(socket, output);
  const up = pipeline(input, socket).catch((error: unknown) => {
    // The client went away in the middle: the coordinator must notice.
    socket.destroy();
    throw error;
  });
  try {
    await down;
    return 0;
  } catch {
    return 1;
  } finally {
    // When the coordinator has ended, nothing that the client still sends can arrive.
    up.catch(() => undefined);
    socket.destroy();
  }
}
