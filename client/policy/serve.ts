/**
 * Serves an admin policy to others, SkyPilot included: POST in SkyPilot's wire format, answered with the changed request,
 * with 400 and the policy's words, or with another status when the policy could not be asked, which every caller takes
 * for a refusal. Bodies, connections and times are bounded. Whoever can connect may ask: there is no other check. Used by
 * client/commands/policy/serve.ts.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { RaisedByPolicy } from "../../shared/admin-policy/outcomes.ts";
import { answerBody, policyBytesMax, readQuestion, WireFault } from "../../shared/admin-policy/wire.ts";
import { messageOf } from "../../shared/errors.ts";
import type { PolicyProcess } from "../../system/policy/worker-process.ts";

/** Milliseconds. Longer than a policy's own limit, so that its end is told. */
const requestLimitMs = 60_000;
const connectionsMax = 200;

interface Reply {
  status: number;
  body: string;
}

/** As FastAPI answers: the text as a JSON string. */
function told(status: number, text: string): Reply {
  return { status, body: JSON.stringify(text) };
}

/** Null: it is too long; so much of it is read that the caller can hear of that. */
async function bodyText(incoming: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > policyBytesMax * 4) {
      return null;
    }
    if (bytes <= policyBytesMax) {
      chunks.push(chunk);
    }
  }
  return bytes > policyBytesMax ? null : Buffer.concat(chunks).toString("utf8");
}

async function replyTo(worker: PolicyProcess, incoming: IncomingMessage, signal: AbortSignal): Promise<Reply> {
  if (incoming.method !== "POST") {
    return told(405, "POST a request of an admin policy.");
  }
  if (incoming.headers.origin !== undefined) {
    // A page in somebody's browser, which can connect to where its user alone can.
    return told(403, "Web pages may not ask an admin policy.");
  }
  const body = await bodyText(incoming);
  if (body === null) {
    return told(413, `The request is over ${policyBytesMax / 1024 / 1024} MB.`);
  }
  try {
    const question = readQuestion(body);
    const who = incoming.socket.remoteAddress ?? "";
    return { status: 200, body: answerBody(await worker.ask(who, question, () => null, signal), body) };
  } catch (error) {
    if (error instanceof RaisedByPolicy) {
      return told(400, error.words);
    }
    return error instanceof WireFault
      ? told(422, `This is no request of an admin policy: ${error.message}`)
      : told(500, messageOf(error));
  }
}

async function answer(worker: PolicyProcess, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const gone = new AbortController();
  outgoing.on("close", () => gone.abort(new Error("the caller has left")));
  const { status, body } = await replyTo(worker, incoming, gone.signal);
  if (!outgoing.destroyed) {
    outgoing.writeHead(status, { "Content-Type": "application/json" }).end(body);
  }
}

export interface PolicyServer {
  port: number;
  close(): Promise<void>;
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Serves until it is closed. Port 0 takes one that is free. Rejects when it cannot listen there. */
export async function servePolicy(worker: PolicyProcess, host: string, port: number): Promise<PolicyServer> {
  const limits = { headersTimeout: 10_000, requestTimeout: requestLimitMs };
  const server = createServer(limits, (incoming, outgoing) => {
    answer(worker, incoming, outgoing).catch(() => outgoing.destroy());
  });
  server.maxConnections = connectionsMax;
  await listening(server, host, port);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
