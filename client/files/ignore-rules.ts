/**
 * Which files of a source stay at home, as in SkyPilot: with a `.skyignore` in the source the `.skyignore` files decide
 * and nothing else; without one what git ignores (`.gitignore` at every level, `.git/info/exclude`, the user's own list;
 * never a file that git tracks). Where git is missing or refuses, the `.gitignore` files are read here. It must never
 * leave out anything else, `.git` included. Called by client/files/walk.ts, folder by folder.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ignore, { type Ignore } from "ignore";
import { SkyError } from "../../shared/errors.ts";
import { gitIgnored } from "./git.ts";

const rulesBytesMax = 1024 * 1024;

/** Decides about names of one folder; made for the folder, with what its parents say. */
export interface IgnoreRules {
  /** `name` as text; `path`: as bytes in latin1, relative to the source. */
  ignores(name: string, path: string, isFolder: boolean): boolean;
  /** The rules inside the folder `name` of this one. `names`: what lies in it. */
  inside(name: string, path: string, folder: string, names: ReadonlySet<string>): IgnoreRules;
}

/** One ignore file and the folder below its own, as names, in which one is now. */
interface Level {
  rules: Ignore;
  below: string[];
}

/** Text of an ignore file as rules. Names differ by case here, whatever the system: the nodes' do. */
function readRules(file: string): Ignore {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new SkyError("ValueError", `Cannot read ${file}: ${(error as Error).message}.`);
  }
  if (text.length > rulesBytesMax) {
    throw new SkyError("ValueError", `${file} is over 1 MB.`);
  }
  return ignore({ ignorecase: false, allowRelativePaths: true }).add(text);
}

/** Ignore files of one name, each for its own folder and what lies below; deeper ones have the last word. */
class FileRules implements IgnoreRules {
  readonly #file: string;
  readonly #levels: readonly Level[];

  constructor(file: string, levels: readonly Level[]) {
    this.#file = file;
    this.#levels = levels;
  }

  ignores(name: string, _path: string, isFolder: boolean): boolean {
    for (let index = this.#levels.length - 1; index >= 0; index -= 1) {
      const level = this.#levels[index] as Level;
      const path = [...level.below, name].join("/") + (isFolder ? "/" : "");
      const verdict = level.rules.test(path);
      if (verdict.ignored || verdict.unignored) {
        return verdict.ignored;
      }
    }
    return false;
  }

  inside(name: string, _path: string, folder: string, names: ReadonlySet<string>): IgnoreRules {
    const levels = this.#levels.map(({ rules, below }) => ({ rules, below: [...below, name] }));
    if (names.has(this.#file)) {
      levels.push({ rules: readRules(join(folder, this.#file)), below: [] });
    }
    return levels.length === 0 ? this : new FileRules(this.#file, levels);
  }
}

/** What git said about a repository; another one inside it (a submodule) is asked anew. */
class GitRules implements IgnoreRules {
  readonly #ignored: ReadonlySet<string>;
  readonly #warn: (text: string) => void;

  constructor(ignored: ReadonlySet<string>, warn: (text: string) => void) {
    this.#ignored = ignored;
    this.#warn = warn;
  }

  ignores(_name: string, path: string, isFolder: boolean): boolean {
    return this.#ignored.has(path) || (isFolder && this.#ignored.has(`${path}/`));
  }

  inside(_name: string, path: string, folder: string, names: ReadonlySet<string>): IgnoreRules {
    return names.has(".git") ? (repositoryRules(folder, `${path}/`, this.#warn) ?? this) : this;
  }
}

/** Rules from git for the repository in which `folder` lies; null where git has nothing to say. */
function repositoryRules(folder: string, prefix: string, warn: (text: string) => void): IgnoreRules | null {
  const found = gitIgnored(folder);
  if (found === null) {
    return null;
  }
  if (found.includes("./")) {
    warn(
      `${folder} as a whole is ignored by git; what git ignores goes up all the same. A .skyignore decides instead.`,
    );
    return new GitRules(new Set(), warn);
  }
  return new GitRules(new Set(found.map((path) => prefix + path)), warn);
}

/** The rules of a source folder. `names`: what lies in it. Throws SkyError when an ignore file cannot be read. */
export function rulesOf(folder: string, names: ReadonlySet<string>, warn: (text: string) => void): IgnoreRules {
  if (names.has(".skyignore")) {
    return new FileRules(".skyignore", []).inside("", "", folder, names);
  }
  const fromGit = repositoryRules(folder, "", warn);
  if (fromGit !== null) {
    return fromGit;
  }
  const levels: Level[] = [];
  const exclude = join(folder, ".git", "info", "exclude");
  if (names.has(".git")) {
    try {
      levels.push({ rules: readRules(exclude), below: [] });
    } catch {
      // `.git` may be a file, and the list need not be there.
    }
  }
  const rules = new FileRules(".gitignore", levels);
  return names.has(".gitignore")
    ? new FileRules(".gitignore", [...levels, { rules: readRules(join(folder, ".gitignore")), below: [] }])
    : rules;
}
