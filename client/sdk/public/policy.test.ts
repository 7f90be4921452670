/** What writers of admin policies have in hand: the config by its paths, requests in the wire format, lenient tasks. */
import { describe, expect, test } from "vitest";
import { ValueError } from "./exceptions.ts";
import { AdminPolicyRequestName, MutatedUserRequest, UserRequest } from "./policy.ts";
import { Config } from "./policy-config.ts";
import { configOfTask, Task, taskOfPolicy } from "./task.ts";

describe("Config", () => {
  const config = (): Config =>
    Config.fromDict({ aws: { vpc_name: "ours", labels: { a: 1 } }, allowed_clouds: ["aws"] });

  test("finds values by their path, else the default; what is found is a copy", () => {
    const one = config();
    expect(one.getNested(["aws", "vpc_name"], null)).toBe("ours");
    expect(one.getNested(["aws", "missing"], "default")).toBe("default");
    expect(one.getNested(["allowed_clouds", "0"], "default")).toBe("default");
    expect(one.getNested(["toString"], "default")).toBe("default");
    one.getNested<Record<string, number>>(["aws", "labels"], {})["a"] = 2;
    expect(one).toEqual(config());
  });

  test("overrides hold for one look, where they are allowed", () => {
    const overrideConfigs = { aws: { vpc_name: "theirs" } };
    expect(config().getNested(["aws", "vpc_name"], null, { overrideConfigs })).toBe("theirs");
    const allowed = { overrideConfigs, allowedOverrideKeys: [["aws"]] };
    expect(config().getNested(["aws", "labels", "a"], null, allowed)).toBe(1);
    const other = { overrideConfigs, allowedOverrideKeys: [["gcp"]] };
    expect(() => config().getNested(["aws"], null, other)).toThrow(ValueError);
    const without = { overrideConfigs, disallowedOverrideKeys: [["aws", "vpc_name"]] };
    expect(() => config().getNested(["aws"], null, without)).toThrow("The key aws.vpc_name may not be overridden.");
  });

  test("sets values, making mappings on the way and merging into those that are there; takes values out", () => {
    const one = config();
    one.setNested(["aws", "labels"], { b: 2 });
    one.setNested(["kubernetes", "allowed_contexts"], ["x"]);
    one.setNested(["allowed_clouds"], ["gcp"]);
    expect(one).toEqual({
      aws: { vpc_name: "ours", labels: { a: 1, b: 2 } },
      kubernetes: { allowed_contexts: ["x"] },
      allowed_clouds: ["gcp"],
    });
    expect(one.popNested(["aws", "labels", "a"], null)).toBe(1);
    expect(one.popNested(["aws", "labels", "a"], "gone")).toBe("gone");
    expect(() => one.setNested(["__proto__", "evil"], 1)).toThrow(ValueError);
    expect(({} as Record<string, unknown>)["evil"]).toBeUndefined();
  });
});

describe("requests", () => {
  const request = new UserRequest({
    task: new Task({ name: "train", run: "echo" }),
    skypilotConfig: Config.fromDict({ aws: { vpc_name: "ours" } }),
    requestName: AdminPolicyRequestName.CLUSTER_EXEC,
    requestOptions: { clusterName: "lab", idleMinutesToAutostop: null, down: false, dryrun: true },
    user: { id: "000003e9", name: "alice" },
  });

  test("travel and come back", () => {
    const back = UserRequest.decode(JSON.stringify(request.encode()));
    expect([back.encode(), configOfTask(back.task)]).toEqual([request.encode(), { name: "train", run: "echo" }]);
    const mutated = new MutatedUserRequest(request.task, request.skypilotConfig);
    const answer = MutatedUserRequest.decode(mutated.encode());
    expect([configOfTask(answer.task), answer.skypilotConfig]).toEqual([
      { name: "train", run: "echo" },
      request.skypilotConfig,
    ]);
  });

  test("of an unknown name, or none at all, are refused", () => {
    const encoded = request.encode().replace('"exec"', '"exec2"');
    expect(() => UserRequest.decode(encoded)).toThrow("'exec2' is not a valid AdminPolicyRequestName");
    expect(() => UserRequest.decode("{}")).toThrow(ValueError);
    expect(() => new MutatedUserRequest({} as Task, request.skypilotConfig)).toThrow(ValueError);
  });
});

describe("a task that a policy gets", () => {
  test("may say what no cluster here can do, and is changed by plain values", () => {
    const task = taskOfPolicy({ resources: { use_spot: true, accelerators: "V100" }, volumes: { "/a": "one" } });
    task.setResources({ ...task.getResourceConfig(), autostop: { idle_minutes: 5 } }).updateVolumes({ "/b": "two" });
    expect(configOfTask(task.setRun("echo"))).toEqual({
      resources: { use_spot: true, accelerators: "V100", autostop: { idle_minutes: 5 } },
      volumes: { "/a": "one", "/b": "two" },
      run: "echo",
    });
    expect(task.isControllerTask()).toBe(false);
  });

  test("a program's own task is checked as before", () => {
    expect(() => new Task().setResources({ use_spot: true })).toThrow(/use_spot/);
    expect(new Task().setResources({ cpus: "2+" }).getResourceConfig()).toEqual({ cpus: "2+" });
    expect(() => new Task().setVolumes({ "/a": 7 as never })).toThrow(ValueError);
  });
});
