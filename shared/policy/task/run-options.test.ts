/** Options of container engines as policies see them: nothing that could undo a rule is overlooked. */
import { expect, test } from "vitest";
import { optionFieldsOf } from "./run-options.ts";

const seen = (...words: string[]): unknown => {
  const { fields, raw } = optionFieldsOf(words);
  return { ...Object.fromEntries(fields), ...(raw.length === 0 ? {} : { raw }) };
};

test.each<[string[], unknown]>([
  [["--privileged"], { privileged: true }],
  [["--privileged=false"], { privileged: false }],
  [["--privileged", "--privileged=0"], { privileged: false }],
  [
    ["--cap-add", "CAP_SYS_ADMIN", "--cap-add=net_raw,sys_ptrace"],
    { "security.capabilities": ["SYS_ADMIN", "NET_RAW", "SYS_PTRACE"] },
  ],
  [["--cap-drop=ALL", "--rm", "--init", "--ulimit", "nofile=1:2"], {}],
  [["--security-opt", "seccomp=unconfined"], { "security.seccompProfileType": "Unconfined" }],
  [["--security-opt=no-new-privileges"], { "security.allowPrivilegeEscalation": false }],
  [["--security-opt", "no-new-privileges:false"], { "security.allowPrivilegeEscalation": true }],
  [["--ipc=host", "--net", "host"], { "security.hostIpc": true, "security.hostNetwork": true }],
  [["--network=none"], { "security.hostNetwork": false }],
  [["--read-only"], { "security.readOnlyRootFilesystem": true }],
  [["-u", "0:5"], { "security.runAsUid": 0, "security.runAsGid": 5 }],
  [["--user=root"], { "security.runAsUid": 0 }],
  [["--group-add", "7", "--group-add", "8"], { "security.supplementalGroups": "7,8" }],
  [["--shm-size", "1g"], { "compute.largeShmRequest": true }],
  [["--cpus=1.5", "-m", "512m"], { "compute.cpuCoreLimit": 1.5, "compute.cpuMemoryLimit": "512Mi" }],
  [["-w/work", "--pull=always"], { workingDir: "/work", imagePullPolicy: "Always" }],
  [["-it"], { stdin: true, tty: true }],
  [["-p8080:80/tcp"], { ports: [{ container: 80, external: 8080 }] }],
  [
    ["-v", "/srv:/data:ro", "--mount", "type=bind,source=/a,target=/b"],
    {
      "storage.hostPath": [
        { path: "/srv", mountPath: "/data", readOnly: true },
        { path: "/a", mountPath: "/b" },
      ],
    },
  ],
  [["--tmpfs", "/t:size=1g"], { "storage.emptyDirVolume": [{ path: "/t", medium: "Memory" }] }],
  [
    ["-eA=1=2", "--env", "B", "-e=C=3"],
    { environmentVariables: [{ name: "A", value: "1=2" }, { name: "B" }, { name: "C", value: "3" }] },
  ],
])("%j", (words, fields) => {
  expect(seen(...words)).toEqual(fields);
});

test.each<[string[], string[]]>([
  [
    ["--device", "/dev/sda"],
    ["--device", "/dev/sda"],
  ],
  [["--device=/dev/sda"], ["--device"]],
  [["--annotation", "run.oci.seccomp_bpf_data=AAAA"], ["--annotation"]],
  // The engines take the second folder.
  [["--mount", "type=bind,source=/data,src=/etc,target=/x"], ["--mount"]],
  [["--mount", "type=bind,source=/data,target=/x,dst=/y"], ["--mount"]],
  [["--mount", "type=bind,source=/data/../etc,target=/x"], ["--mount"]],
  [["-v", "/data/../etc:/x"], ["--volume"]],
  [["-v", "/data:/x/../y"], ["--volume"]],
  [["-v", "/data:/x:O,upperdir=/etc,workdir=/w"], ["--volume"]],
  [["--pull=constructor"], ["--pull"]],
  [["--constructor=a"], ["--constructor"]],
  [["--pid=host"], ["--pid"]],
  [["--userns=host"], ["--userns"]],
  [["--security-opt", "apparmor=unconfined"], ["--security-opt"]],
  [["--security-opt", "seccomp=/p.json"], ["--security-opt"]],
  [["--network", "container:x"], ["--network"]],
  [
    ["--env-file", "f"],
    ["--env-file", "f"],
  ],
  [["-v", "named:/x"], ["--volume"]],
  [["--mount", "type=volume,source=a,target=/b"], ["--mount"]],
  [["--user", "someone"], ["--user"]],
  [["--gpus=all"], ["--gpus"]],
  [["--privileged=maybe"], ["--privileged"]],
  [
    ["other/image", "sh"],
    ["other/image", "sh"],
  ],
  [
    ["--", "x"],
    ["--", "x"],
  ],
  [["-Z"], ["-Z"]],
])("%j is nothing that a field stands for", (words, raw) => {
  expect(optionFieldsOf(words).raw.sort()).toEqual(raw.sort());
});

test("an option hides behind no other: a word that could be either counts as both", () => {
  expect(optionFieldsOf(["--label", "--privileged"])).toEqual({
    fields: new Map([["privileged", true]]),
    raw: ["--label"],
  });
  expect(optionFieldsOf(["--unknown", "--cap-add=ALL"])).toEqual({
    fields: new Map([["security.capabilities", ["ALL"]]]),
    raw: ["--unknown"],
  });
  expect(optionFieldsOf(["-ditv/:/host"]).fields.get("storage.hostPath")).toEqual([{ path: "/", mountPath: "/host" }]);
});
