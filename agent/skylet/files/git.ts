/**
 * A working folder that is a git repository: cloned or fetched with the machine's own git, as the user. Changes that are
 * only here are never thrown away. A token goes to git through its environment, never through an argument or a file, and
 * only to the server of the repository. Called by main.ts.
 */
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { FilePlan } from "../../../shared/files.ts";
import { shellQuoted } from "../environment.ts";
import type { Bringing } from "./bringing.ts";
import { asFault, FilesFault } from "./fault.ts";
import { askTool, findTool, runTool } from "./tool.ts";

type GitPlan = Extract<FilePlan, { kind: "git" }>;

/** `file` reaches no further than the user does. Helpers (`ext::…`) would run programs, plain http could be changed on the way. */
const protocols = "https:ssh:git:file";

function hostOf(url: string): string | null {
  try {
    const parsed = new URL(url);
    return parsed.protocol === "https:" ? `${parsed.protocol}//${parsed.host}/` : null;
  } catch {
    return null;
  }
}

/** Names and addresses as git takes them; anything that it could read as an option or a helper is refused. */
export function checkGitUrl(url: string): void {
  const scheme = /^([a-z][a-z0-9+.-]*):(\/\/|:)/iu.exec(url)?.[1]?.toLowerCase();
  const isKnown = scheme === undefined ? /^([^/:-][^/:]*:|\/)/u.test(url) : protocols.split(":").includes(scheme);
  if (!isKnown || /[\u0000-\u001F]/u.test(url) || url.includes("::")) {
    throw new FilesFault(
      `'${url}' is no address of a repository that can be fetched. Use https://, ssh://, git:// or file://.`,
    );
  }
}

/** The environment that proves who asks. */
export function gitEnvironment(url: string, credentials: Record<string, string>): Record<string, string> {
  const env: Record<string, string> = { GIT_TERMINAL_PROMPT: "0", GIT_ALLOW_PROTOCOL: protocols };
  const key = credentials["GIT_SSH_KEY_PATH"];
  const ssh = "ssh -o BatchMode=yes";
  env["GIT_SSH_COMMAND"] = ssh;
  if (key !== undefined && key !== "") {
    if (!existsSync(key)) {
      throw new FilesFault(
        `GIT_SSH_KEY_PATH names '${key}', which is not on this machine. Put the key there, or give GIT_TOKEN as a secret.`,
      );
    }
    env["GIT_SSH_COMMAND"] = `${ssh} -o IdentitiesOnly=yes -i ${shellQuoted(key, "The key's path")}`;
  }
  const [token, host] = [credentials["GIT_TOKEN"], hostOf(url)];
  if (token !== undefined && token !== "" && host !== null) {
    env["GIT_CONFIG_COUNT"] = "1";
    env["GIT_CONFIG_KEY_0"] = `http.${host}.extraHeader`;
    env["GIT_CONFIG_VALUE_0"] = `Authorization: Basic ${Buffer.from(`x-access-token:${token}`).toString("base64")}`;
  }
  return env;
}

class Repository {
  readonly #path: string;
  readonly #env: Record<string, string>;

  constructor(path: string, env: Record<string, string>) {
    this.#path = path;
    this.#env = env;
  }

  /** Null: git says no. */
  ask(...argv: string[]): string | null {
    const { code, output } = askTool("git", ["-C", this.#path, ...argv], this.#env);
    return code === 0 ? output.trim() : null;
  }

  async must(doing: string, ...argv: string[]): Promise<void> {
    const code = await runTool("git", ["-C", this.#path, ...argv], this.#env);
    if (code !== 0) {
      throw new FilesFault(`git could not ${doing} (exit code ${code}); what it said stands above.`);
    }
  }

  /** Null: there is no such commit. */
  commit(name: string): string | null {
    return this.ask("rev-parse", "--verify", "--quiet", "--end-of-options", `${name}^{commit}`);
  }
}

export async function bringGit({ destination, label, order, say }: Bringing, { url, ref }: GitPlan): Promise<void> {
  if (findTool("git") === null) {
    throw new FilesFault("git is not installed on this machine. Ask its admin for it, or use a local workdir.");
  }
  checkGitUrl(url);
  if (ref?.startsWith("-") === true) {
    throw new FilesFault(`'${ref}' is no name of a branch, tag or commit.`);
  }
  const repository = new Repository(destination, gitEnvironment(url, order.credentials));
  await open(repository, destination, label, url);
  await repository.must(
    `fetch ${url}`,
    "fetch",
    "--quiet",
    "--tags",
    "--force",
    "origin",
    "+refs/heads/*:refs/remotes/origin/*",
  );
  const target = await find(repository, ref);
  const present = repository.commit("HEAD");
  if (present === target) {
    return;
  }
  if ((repository.ask("status", "--porcelain", "--untracked-files=no") ?? "") !== "" && present !== null) {
    throw new FilesFault(
      `${label} holds changes that are not committed, and ${ref ?? "the repository"} is further now. Commit or remove them, and launch again.`,
    );
  }
  keep(repository, present, say);
  await repository.must(
    `check out ${ref ?? "the default branch"} in ${label}`,
    "checkout",
    "--quiet",
    "--detach",
    target,
  );
  say(`${url} is at ${target.slice(0, 12)}${ref === null ? "" : ` (${ref})`}`);
}

/** A clone of this repository, made empty where nothing is yet. */
async function open(repository: Repository, destination: string, label: string, url: string): Promise<void> {
  let isEmpty: boolean;
  try {
    mkdirSync(destination, { recursive: true });
    isEmpty = statSync(destination).isDirectory() && readdirSync(destination).length === 0;
  } catch (error) {
    throw asFault(error, `make the folder ${label}`);
  }
  if (isEmpty) {
    await repository.must(`make a repository in ${label}`, "init", "--quiet");
  } else if (!existsSync(join(destination, ".git"))) {
    throw new FilesFault(`${label} holds files that are no clone of ${url}. Move them away and launch again.`);
  }
  const origin = repository.ask("remote", "get-url", "origin");
  if (origin === null) {
    await repository.must(`name ${url} as the origin`, "remote", "add", "--", "origin", url);
  } else if (origin !== url) {
    throw new FilesFault(`${label} is a clone of ${origin}, not of ${url}. Move it away and launch again.`);
  }
}

/** The commit that the reference means on the server now. */
async function find(repository: Repository, ref: string | null): Promise<string> {
  if (ref === null) {
    await repository.must("ask for the default branch", "remote", "set-head", "origin", "--auto");
    const head = repository.commit("refs/remotes/origin/HEAD");
    if (head === null) {
      throw new FilesFault("The repository has no default branch. Give a ref.");
    }
    return head;
  }
  for (const name of [`refs/remotes/origin/${ref}`, `refs/tags/${ref}`]) {
    const found = repository.commit(name);
    if (found !== null) {
      return found;
    }
  }
  if (/^[0-9a-f]{7,64}$/iu.test(ref)) {
    const isThere = repository.commit(ref) !== null;
    if (!isThere && ref.length >= 40) {
      await repository.must(`fetch commit ${ref}`, "fetch", "--quiet", "origin", ref);
    }
    const found = repository.commit(ref);
    if (found !== null) {
      return found;
    }
  }
  throw new FilesFault(`The repository has no branch, tag or commit '${ref}'.`);
}

/** Commits that are nowhere but here get a branch before the folder goes elsewhere. */
function keep(repository: Repository, present: string | null, say: (line: string) => void): void {
  if (present === null) {
    return;
  }
  const where = repository.ask("for-each-ref", "--count=1", "--format=%(refname)", "--contains", present);
  if (where === "") {
    const name = `sky-kept-${present.slice(0, 12)}`;
    repository.ask("branch", name, present);
    say(`commits that are only here are kept in the branch ${name}`);
  }
}
