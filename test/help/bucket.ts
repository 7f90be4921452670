/**
 * A bucket as its tools see one: a small HTTP server on loopback that lists and gives objects in the words of S3. It asks
 * nobody who they are. Used by the tests of files that jobs bring from buckets.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface TestBucket {
  /** The server's address, for the tools' settings. */
  endpoint: string;
  /** By key. */
  objects: Map<string, string>;
  /** `GET key` and so on, listings as `LIST prefix`; oldest first. */
  calls: string[];
  stop: () => Promise<void>;
}

const changedAt = new Date("2026-01-02T03:04:05Z");

function listing(bucket: string, objects: ReadonlyMap<string, string>, query: URLSearchParams): string {
  const [prefix, delimiter] = [query.get("prefix") ?? "", query.get("delimiter") ?? ""];
  const folders = new Set<string>();
  const contents = [...objects].flatMap(([key, text]) => {
    const rest = key.slice(prefix.length);
    if (!key.startsWith(prefix)) {
      return [];
    }
    if (delimiter !== "" && rest.includes(delimiter)) {
      folders.add(`${prefix}${rest.slice(0, rest.indexOf(delimiter) + 1)}`);
      return [];
    }
    const facts = `<LastModified>${changedAt.toISOString()}</LastModified><ETag>${tagOf(text)}</ETag>`;
    return [`<Contents><Key>${key}</Key>${facts}<Size>${Buffer.byteLength(text)}</Size></Contents>`];
  });
  const common = [...folders].map((name) => `<CommonPrefixes><Prefix>${name}</Prefix></CommonPrefixes>`);
  const head = `<Name>${bucket}</Name><Prefix>${prefix}</Prefix><IsTruncated>false</IsTruncated><MaxKeys>1000</MaxKeys>`;
  const all = [head, ...contents, ...common].join("");
  return `<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${all}</ListBucketResult>`;
}

function tagOf(text: string): string {
  return `"${createHash("md5").update(text).digest("hex")}"`;
}

/** Starts the server; it has this one bucket. */
export async function startBucket(bucket: string): Promise<TestBucket> {
  const objects = new Map<string, string>();
  const calls: string[] = [];
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const url = new URL(request.url ?? "/", "http://bucket");
    const [, name = "", ...rest] = decodeURIComponent(url.pathname).split("/");
    const key = rest.join("/");
    const text = objects.get(key);
    if (name !== bucket || (key !== "" && text === undefined)) {
      calls.push(`${request.method} ${key}`);
      const code = name === bucket ? "NoSuchKey" : "NoSuchBucket";
      response.writeHead(404, { "content-type": "application/xml" }).end(`<Error><Code>${code}</Code></Error>`);
      return;
    }
    if (text === undefined) {
      calls.push(`LIST ${url.searchParams.get("prefix") ?? ""}`);
      response.writeHead(200, { "content-type": "application/xml" });
      response.end(listing(bucket, objects, url.searchParams));
      return;
    }
    calls.push(`${request.method} ${key}`);
    response.writeHead(200, {
      "content-length": Buffer.byteLength(text),
      "content-type": "application/octet-stream",
      "last-modified": changedAt.toUTCString(),
      etag: tagOf(text),
    });
    response.end(request.method === "HEAD" ? undefined : text);
  };
  const server: Server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, objects, calls, stop };
}
