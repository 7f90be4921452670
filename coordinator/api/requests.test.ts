/** The request table: sharing by id, privacy between users, bounds, cancelling. */
import { randomUUID } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import { SkyError } from "../../shared/errors.ts";
import { until } from "../../test/help/until.ts";
import { openLog } from "../log.ts";
import { StoreUnavailable } from "../parts.ts";
import { keepsNothing, type RequestSpec, requestLimits } from "./request-entry.ts";
import { payloadOf } from "./request-payload.ts";
import { RequestTable, requestedId } from "./requests.ts";
import { rootAccount } from "../../test/help/api-parts.ts";

const tables: RequestTable[] = [];
afterEach(() => {
  for (const table of tables.splice(0)) {
    table.close();
  }
});

function newTable(changes: Partial<typeof requestLimits> = {}): RequestTable {
  const table = new RequestTable(openLog("error").child({}, { level: "silent" }), { ...requestLimits, ...changes });
  tables.push(table);
  return table;
}

function spec(changes: Partial<RequestSpec> = {}, uid = 0): RequestSpec {
  const account = { ...rootAccount, uid, name: `user${uid}` };
  return { name: "launch", account, cluster: "lab", id: null, readOnly: false, stream: false, ...changes };
}

const forever = (): Promise<never> => new Promise<never>(() => undefined);

describe("RequestTable", () => {
  it("does nothing of a call that was cancelled while it was being stored", async () => {
    let stored = (): void => undefined;
    const begun = new Promise<undefined>((resolve) => {
      stored = () => resolve(undefined);
    });
    const ended: string[] = [];
    const keeper = { ...keepsNothing, begin: () => begun, end: ({ status }: { status: string }) => ended.push(status) };
    const table = new RequestTable(openLog("error").child({}, { level: "silent" }), requestLimits, keeper);
    tables.push(table);
    let isDone = false;
    const entry = table.start(spec({ name: "quotas", stored: { path: "/quotas", body: () => "{}" } }), async () => {
      isDone = true;
    });
    expect(await table.cancel(0, [entry.id])).toEqual([entry.id]);
    stored();
    await until(() => ended.length > 0, "its end");
    expect([ended, isDone]).toEqual([["CANCELLED"], false]);
  });

  it("does a call once for one id, and does it again after the store was away", async () => {
    const table = newTable();
    const id = randomUUID();
    let done = 0;
    const first = table.start(spec({ id }), async () => {
      done += 1;
      throw new StoreUnavailable("gone");
    });
    await first.done;
    expect(JSON.parse(payloadOf(first, false).error)).toMatchObject({ type: "ServerUnavailableError" });
    expect(payloadOf(first, false).should_retry).toBe(true);
    const second = table.start(spec({ id }), async () => ++done);
    const third = table.start(spec({ id }), async () => ++done);
    await second.done;
    expect(third).toBe(second);
    expect([second.result, done]).toEqual([2, 2]);
  });

  it("refuses an id of another user, and does not show it", async () => {
    const table = newTable();
    const entry = table.start(spec(), async () => 1);
    expect(() => table.start(spec({ id: entry.id }, 7), async () => 2)).toThrow("is taken");
    expect(() => table.find(7, entry.id)).toThrow("not found");
    expect(table.list(7, { all: true })).toEqual([]);
    expect(await table.cancel(7, null)).toEqual([]);
    expect(table.find(0, entry.id.slice(0, 6))).toBe(entry);
  });

  it("says when a prefix is ambiguous", () => {
    const table = newTable();
    table.start(spec({ id: "11111111-0000-4000-8000-000000000001" }), forever);
    table.start(spec({ id: "11111111-0000-4000-8000-000000000002" }), forever);
    expect(() => table.find(0, "1111")).toThrow("ambiguous");
    expect(() => table.find(0, "")).toThrow("not found");
  });

  it("never holds more than its limits, and drops finished requests first", async () => {
    const table = newTable({ total: 6, perUser: 4 });
    const done = table.start(spec(), async () => 1);
    await done.done;
    for (let count = 0; count < 4; count += 1) {
      table.start(spec(), forever);
    }
    expect(() => table.find(0, done.id)).toThrow("not found");
    expect(() => table.start(spec(), forever)).toThrow("4 unfinished requests");
    table.start(spec({}, 1), forever);
    table.start(spec({}, 2), forever);
    expect(() => table.start(spec({}, 3), forever)).toThrow("holds 6 unfinished");
    expect(table.size).toBe(6);
  });

  it("forgets what was fetched after a while", async () => {
    const table = newTable({ keepFetchedMs: 20 });
    const entry = table.start(spec(), async () => 1);
    await entry.done;
    table.fetched(entry);
    await until(() => table.size === 0);
  });

  it("cancels a call, and ends one that takes too long", async () => {
    const table = newTable({ callMs: 20 });
    const stream = table.start(spec({ stream: true }), forever);
    const call = table.start(spec(), forever);
    await call.done;
    expect(call.error?.message).toContain("took longer");
    expect(stream.status).toBe("RUNNING");
    expect(await table.cancel(0, [stream.id])).toEqual([stream.id]);
    await stream.done;
    expect(payloadOf(stream, false).status).toBe("CANCELLED");
    expect(await table.cancel(0, null)).toEqual([]);
  });

  it("shows users what was meant for them, and nothing else", async () => {
    const table = newTable();
    const meant = table.start(spec(), async () => {
      throw new SkyError("ValueError", "too many", "take fewer");
    });
    const fault = table.start(spec(), async () => {
      throw new TypeError("secret detail");
    });
    await Promise.all([meant.done, fault.done]);
    expect(JSON.parse(payloadOf(meant, false).error)).toMatchObject({
      type: "ValueError",
      message: "too many",
      hint: "take fewer",
    });
    const shown = JSON.stringify(payloadOf(fault, false));
    expect(shown).toContain("see the coordinator's log");
    expect(shown).not.toContain("secret");
    expect(shown).not.toContain(".ts");
  });
});

describe("requestedId", () => {
  it("takes uuids only", () => {
    expect(requestedId("11111111-0000-4000-8000-00000000000A")).toBe("11111111-0000-4000-8000-00000000000a");
    expect(requestedId("../../etc")).toBeNull();
    expect(requestedId(undefined)).toBeNull();
  });
});
