/** What a daemon says to systemd, received by a real datagram socket, and what a child of it may not see. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import koffi from "koffi";
import { afterEach, beforeEach, expect, it } from "vitest";
import { until } from "../test/help/until.ts";
import { Notifier } from "./notify.ts";

const library = koffi.load(null);
const openSocket = library.func("int socket(int, int, int)");
const bind = library.func("int bind(int, const void *, uint)");
const receive = library.func("intptr_t recv(int, _Out_ void *, size_t, int)");
const close = library.func("int close(int)");

let dir: string;
let open: number[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "sky-notify-"));
  open = [];
});

afterEach(() => {
  open.forEach((fd) => close(fd));
  rmSync(dir, { recursive: true });
});

/** A socket as systemd's own; returns how to take the next datagram, null when there is none. */
function listen(name: string): () => string | null {
  const bytes = Buffer.from(name.startsWith("@") ? `\0${name.slice(1)}` : `${name}\0`);
  const address = Buffer.concat([Buffer.from([1, 0]), bytes]);
  const fd = openSocket(1, 2 | 0o4000, 0) as number;
  open.push(fd);
  expect(bind(fd, address, address.length)).toBe(0);
  return () => {
    const buffer = Buffer.alloc(4096);
    const length = Number(receive(fd, buffer, buffer.length, 0));
    return length < 0 ? null : buffer.toString("utf8", 0, length);
  };
}

it.each(["path", "abstract"])("tells systemd over a socket with a name of the kind: %s", (kind) => {
  const name = kind === "path" ? join(dir, "notify") : `@sky-notify-test-${process.pid}`;
  const next = listen(name);
  const notifier = Notifier.open({ NOTIFY_SOCKET: name });
  notifier.ready("serving\n2 nodes");
  notifier.status("waiting");
  notifier.reloading();
  notifier.stopping();
  expect(next()).toBe("READY=1\nSTATUS=serving 2 nodes");
  expect(next()).toBe("STATUS=waiting");
  expect(next()).toMatch(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);
  expect(next()).toBe("STOPPING=1");
  expect(next()).toBeNull();
});

it("pings three times in each period while all is well, and not a moment longer", async () => {
  const name = join(dir, "notify");
  const next = listen(name);
  const environment = { NOTIFY_SOCKET: name, WATCHDOG_USEC: "90000", WATCHDOG_PID: String(process.pid) };
  const notifier = Notifier.open(environment);
  expect(notifier.pingEveryMs).toBe(30);
  let isWell = true;
  let asked = 0;
  notifier.watch(() => {
    asked += 1;
    return isWell;
  });
  expect(next()).toBe("WATCHDOG=1");
  await until(() => next() === "WATCHDOG=1", "a ping");
  isWell = false;
  while (next() !== null) {
    // what was sent before
  }
  const before = asked;
  await until(() => asked > before + 2, "two more looks");
  expect(next()).toBeNull();
});

it("is not watched when the watchdog is another process's, or none", () => {
  const name = join(dir, "notify");
  for (const watchdog of [{ WATCHDOG_USEC: "9000000", WATCHDOG_PID: "1" }, { WATCHDOG_USEC: "x" }, {}]) {
    expect(Notifier.open({ NOTIFY_SOCKET: name, ...watchdog }).pingEveryMs).toBeNull();
  }
});

it.each(["", "relative", "@", `/${"x".repeat(108)}`])("does nothing with a socket named %j", (name) => {
  const notifier = Notifier.open({ NOTIFY_SOCKET: name, WATCHDOG_USEC: "3000000" });
  notifier.ready("x");
  notifier.watch();
  expect(notifier.pingEveryMs).toBeNull();
});

it("loses what nobody receives, without an error", () => {
  const notifier = Notifier.open({ NOTIFY_SOCKET: join(dir, "nobody") });
  notifier.ready("x");
  notifier.stopping();
});

it("leaves nothing of systemd's to a child", () => {
  const given = {
    ...{ NOTIFY_SOCKET: join(dir, "n"), WATCHDOG_USEC: "1", WATCHDOG_PID: "1", INVOCATION_ID: "i", LISTEN_FDS: "1" },
    ...{ LISTEN_PID: "1", JOURNAL_STREAM: "8:1", RUNTIME_DIRECTORY: "/run/x", SYSTEMD_EXEC_PID: "1" },
  };
  const before = { ...process.env };
  Object.assign(process.env, given);
  try {
    Notifier.open();
    const child = execFileSync("/usr/bin/env", { encoding: "utf8" });
    expect(Object.keys(given).filter((name) => child.includes(`${name}=`))).toEqual([]);
  } finally {
    for (const name of Object.keys(given)) {
      process.env[name] = before[name] ?? "";
      if (before[name] === undefined) {
        Reflect.deleteProperty(process.env, name);
      }
    }
  }
});
