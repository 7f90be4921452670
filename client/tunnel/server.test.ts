/** The tunnel's port against everybody who is not its person, and what goes through it for that person. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openTunnel, type Tunnel, tunnelLimits } from "./server.ts";

const secret = "s3cret";
const basic = `Basic ${Buffer.from(`sky:${secret}`).toString("base64")}`;

let far: Server;
let tunnel: Tunnel;
/** What reached the coordinator. */
let seen: { method: string; url: string; headers: IncomingHttpHeaders; body: string }[] = [];
let isAway = false;

beforeEach(async () => {
  seen = [];
  isAway = false;
  far = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
    incoming.on("end", () => {
      const { method = "", url = "", headers } = incoming;
      seen.push({ method, url, headers, body: Buffer.concat(chunks).toString() });
      outgoing.writeHead(200, {
        "Content-Type": "application/json",
        "X-SkyPilot-API-Version": "56",
        "Access-Control-Allow-Origin": "*",
        "Set-Cookie": "a=b",
      });
      outgoing.end(JSON.stringify({ url }));
    });
  });
  await new Promise<void>((resolve) => far.listen(0, "127.0.0.1", resolve));
  const farPort = (far.address() as AddressInfo).port;
  tunnel = await openTunnel(0, secret, async () => {
    if (isAway) {
      throw new Error("ssh is gone");
    }
    return connect(farPort, "127.0.0.1");
  });
});
afterEach(async () => {
  await tunnel.close();
  far.closeAllConnections();
  await new Promise((resolve) => far.close(resolve));
});

interface Got {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

function ask(
  headers: Record<string, string | string[]>,
  options: { method?: string; body?: string } = {},
): Promise<Got> {
  return new Promise((resolve, reject) => {
    const { method = "GET", body } = options;
    const call = request({
      port: tunnel.port,
      host: "127.0.0.1",
      path: "/api/health?x=1",
      method,
      headers,
      agent: false,
    });
    call.once("error", reject);
    call.once("response", (reply: IncomingMessage) => {
      const chunks: Buffer[] = [];
      reply.on("data", (chunk: Buffer) => chunks.push(chunk));
      reply.on("end", () =>
        resolve({ status: reply.statusCode ?? 0, headers: reply.headers, text: Buffer.concat(chunks).toString() }),
      );
    });
    call.end(body);
  });
}

/** Everything that comes back for these bytes until the tunnel closes the connection. */
function raw(text: string, port = tunnel.port): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(Buffer.concat(chunks).toString()));
    socket.write(text);
  });
}

const hostOf = (): string => `127.0.0.1:${tunnel.port}`;

describe("the person", () => {
  it("gets through, without the credential going further and without headers for web pages coming back", async () => {
    const got = await ask({ Authorization: basic, "X-SkyPilot-API-Version": "53", "User-Agent": "python-requests/2" });
    expect(got.status).toBe(200);
    expect(JSON.parse(got.text)).toEqual({ url: "/api/health?x=1" });
    expect(got.headers).toMatchObject({ "x-skypilot-api-version": "56" });
    expect(got.headers).not.toHaveProperty("access-control-allow-origin");
    expect(got.headers).not.toHaveProperty("set-cookie");
    expect(seen[0]?.headers).toMatchObject({ "x-skypilot-api-version": "53", "user-agent": "python-requests/2" });
    expect(seen[0]?.headers).not.toHaveProperty("authorization");
  });

  it("may call it localhost, send a body of any form, and make many calls at once", async () => {
    const headers = { Authorization: basic, Host: `localhost:${tunnel.port}` };
    const plain = ask({ ...headers, "Content-Length": "2" }, { method: "POST", body: "{}" });
    const chunked = ask({ ...headers, "Transfer-Encoding": "chunked" }, { method: "POST", body: "abc" });
    const many = Array.from({ length: 20 }, () => ask(headers));
    expect((await Promise.all([plain, chunked, ...many])).every(({ status }) => status === 200)).toBe(true);
    expect(
      seen
        .map(({ body }) => body)
        .sort()
        .slice(-2),
    ).toEqual(["abc", "{}"]);
  });

  it("hears when the cluster is not reached, and gets through when it is again", async () => {
    isAway = true;
    const got = await ask({ Authorization: basic });
    expect(got).toMatchObject({ status: 503, headers: { "retry-after": "1" } });
    expect(got.text).toContain("ssh is gone");
    isAway = false;
    expect((await ask({ Authorization: basic })).status).toBe(200);
  });
});

describe("nobody else gets anything but 401:", () => {
  const encoded = (text: string): string => Buffer.from(text).toString("base64");
  const cases: [string, Record<string, string | string[]>][] = [
    ["no credential", {}],
    ["an empty one", { Authorization: "" }],
    ["a wrong one", { Authorization: `Basic ${encoded("sky:s3cre")}` }],
    ["a longer one", { Authorization: `Basic ${encoded("sky:s3cret1")}` }],
    ["another user", { Authorization: `Basic ${encoded("root:s3cret")}` }],
    ["the bare secret", { Authorization: "Bearer s3cret" }],
    ["a cookie", { Cookie: "sky=s3cret" }],
    ["a name that was pointed here (DNS rebinding)", { Authorization: basic, Host: "evil.example" }],
    ["another port in Host", { Authorization: basic, Host: "127.0.0.1:80" }],
    ["no port in Host", { Authorization: basic, Host: "127.0.0.1" }],
    ["a page of another site", { Authorization: basic, Origin: "https://evil.example" }],
    ["a page of this address", { Authorization: basic, Origin: "http://127.0.0.1" }],
    ["a sandboxed page", { Authorization: basic, Origin: "null" }],
    ["a browser that follows a link", { Authorization: basic, "Sec-Fetch-Site": "cross-site" }],
    ["a page that includes it", { Authorization: basic, Referer: "http://evil.example/" }],
  ];
  it.each(cases)("%s", async (_, headers) => {
    const got = await ask(headers);
    expect(got).toMatchObject({ status: 401 });
    expect(got.text).not.toContain(secret);
    expect(Object.keys(got.headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
    expect(seen).toEqual([]);
  });

  it("a preflight of a page, and a post with a body that is never read", async () => {
    expect((await ask({ Origin: "http://x" }, { method: "OPTIONS" })).status).toBe(401);
    expect((await ask({ "Content-Length": "3" }, { method: "POST", body: "abc" })).status).toBe(401);
    expect(seen).toEqual([]);
  });

  it("headers that stand there twice", async () => {
    const twice = [`Host: ${hostOf()}`, "Host: evil.example", `Authorization: ${basic}`];
    const both = [`Host: ${hostOf()}`, "Authorization: Basic eA==", `Authorization: ${basic}`];
    for (const lines of [twice, both]) {
      expect(await raw(["GET /api/health HTTP/1.1", ...lines, "", ""].join("\r\n"))).toMatch(/^HTTP\/1.1 40[01]/);
    }
    expect(seen).toEqual([]);
  });
});

describe("bytes that mean one thing here and another there", () => {
  const start = (line: string, ...lines: string[]): string =>
    [line, `Host: ${hostOf()}`, `Authorization: ${basic}`, ...lines, "", ""].join("\r\n");
  it.each([
    ["two lengths", () => `${start("POST /a HTTP/1.1", "Content-Length: 3", "Content-Length: 30")}abc`],
    [
      "a length and chunks",
      () => `${start("POST /a HTTP/1.1", "Content-Length: 3", "Transfer-Encoding: chunked")}0\r\n\r\n`,
    ],
    ["an unknown coding", () => `${start("POST /a HTTP/1.1", "Transfer-Encoding: xchunked")}0\r\n\r\n`],
    ["a line that is folded", () => start("GET /a HTTP/1.1", "X-Sky-A: b", " Content-Length: 5")],
    ["a space before the colon", () => start("GET /a HTTP/1.1", "Content-Length : 5")],
    ["an absolute address", () => start("GET http://evil.example/a HTTP/1.1", "Connection: close")],
    ["another protocol", () => start("GET /a HTTP/1.1", "Upgrade: h2c", "Connection: Upgrade")],
    ["a tunnel in it", () => start("CONNECT evil.example:80 HTTP/1.1")],
    ["a header that is too long", () => start("GET /a HTTP/1.1", `X-Sky-A: ${"a".repeat(40_000)}`)],
    ["no HTTP at all", () => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
  ])("reach nobody: %s", async (_, bytes) => {
    const reply = await raw(bytes());
    expect(reply === "" || /^HTTP\/1.1 4\d\d/.test(reply)).toBe(true);
    expect(seen).toEqual([]);
  });

  it("hide no second call in the body of the first", async () => {
    const hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    const body = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`;
    const text = start("POST /a HTTP/1.1", "Transfer-Encoding: chunked", "Connection: close");
    expect(await raw(text + body)).toMatch(/^HTTP\/1.1 200/);
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({ url: "/a", body: hidden });
  });
});

describe("limits", () => {
  it("end connections that say nothing, or one letter at a time", async () => {
    const quick = await openTunnel(0, secret, () => Promise.reject(new Error("unused")), {
      ...tunnelLimits,
      headersMs: 200,
    });
    const replies = await Promise.all([raw("", quick.port), raw("GET / HTT", quick.port)]);
    expect(replies.every((reply) => reply === "" || reply.startsWith("HTTP/1.1 408"))).toBe(true);
    await quick.close();
  });

  it("keep the number of connections small", async () => {
    const small = await openTunnel(0, secret, () => Promise.reject(new Error("unused")), {
      ...tunnelLimits,
      connections: 2,
    });
    const held = [1, 2].map(() => connect(small.port, "127.0.0.1"));
    await Promise.all(held.map((socket) => new Promise((resolve) => socket.once("connect", resolve))));
    expect(await raw("GET / HTTP/1.1\r\n\r\n", small.port)).toBe("");
    held.forEach((socket) => socket.destroy());
    await small.close();
  });

  it("refuse the port that SkyPilot's client takes for its own, and one that is in use", async () => {
    const open = () => Promise.reject(new Error("unused"));
    await expect(openTunnel(46_580, secret, open)).rejects.toThrow("of its own on this machine");
    await expect(openTunnel(tunnel.port, secret, open)).rejects.toThrow("another program has it");
  });
});
