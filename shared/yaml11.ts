/**
 * Reads YAML as SkyPilot does (PyYAML's safe loader, YAML 1.1) into a small tree that knows the line of everything, so
 * that errors can say `file:line`. The text comes from users: size, number of nodes and alias expansion are limited, and
 * no rule here may cost more than linear time. Called by shared/task-file.ts and shared/config-file.ts; it must never
 * know what a key means.
 */
import {
  Composer,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  Lexer,
  type Node,
  Parser,
  Scalar,
  type YAMLMap,
} from "yaml";
import { messageOf, SkyError } from "./errors.ts";
import { resolvePlain, resolveTagged, type YamlScalarValue } from "./yaml11-scalar.ts";

/** `quoted`: the text stood in quotes or in a block, so it was meant to be text. `source`: as it stands in the file. */
export interface YamlScalar extends YamlScalarValue {
  kind: "scalar";
  line: number;
  quoted: boolean;
  source: string;
}
export interface YamlList {
  kind: "list";
  line: number;
  items: YamlNode[];
}
/** `key` is Python's `str()` of the key. `keyLine` is where the key stands. */
export interface YamlEntry {
  key: string;
  keyLine: number;
  node: YamlNode;
}
export interface YamlMapping {
  kind: "map";
  line: number;
  entries: Map<string, YamlEntry>;
}
export type YamlNode = YamlScalar | YamlList | YamlMapping;

/** Characters. As large as the largest body of the API. */
const yamlLengthMax = 20 * 1024 * 1024;
/** Lexical pieces (words, separators, line ends); a block of text counts as one, however long it is. */
const piecesMax = 100_000;
/** Nodes in the tree, with those that aliases repeat. */
const nodesMax = 50_000;
const nestedTooDeeply = "the YAML is nested too deeply";

/**
 * All documents of a text. A document without content is a null scalar; a text without any document gives an empty list.
 * Throws SkyError("ValueError") with `fileName:line: …` for the first fault.
 */
export function readYaml(text: string, fileName: string): YamlNode[] {
  if (text.length > yamlLengthMax) {
    throw new SkyError("ValueError", `${fileName} is larger than ${yamlLengthMax / 1024 / 1024} MB.`);
  }
  const lines = new LineCounter();
  const lineOf = (offset: number): number => Math.max(1, lines.linePos(offset).line);
  try {
    return compose(text, lines).map((document) => {
      const fault = document.errors[0];
      if (fault !== undefined) {
        const text = fault.code === "RESOURCE_EXHAUSTION" ? nestedTooDeeply : fault.message;
        throw new YamlFault(text, fault.pos[0]);
      }
      return new TreeBuilder(lineOf).build(document.contents);
    });
  } catch (error) {
    if (error instanceof YamlFault) {
      throw new SkyError("ValueError", `${fileName}:${lineOf(error.offset)}: ${error.message}`);
    }
    if (error instanceof RangeError) {
      throw new SkyError("ValueError", `${fileName}: ${nestedTooDeeply}.`);
    }
    throw error;
  }
}

/** A fault at an offset of the text; becomes a SkyError with its line. */
class YamlFault extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/** Only syntax is asked of the yaml package: its failsafe schema leaves every scalar as text. */
function compose(text: string, lines: LineCounter) {
  const parser = new Parser(lines.addNewLine);
  const composer = new Composer({
    version: "1.1",
    schema: "failsafe",
    merge: false,
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: "silent",
  });
  const documents = [];
  lines.addNewLine(0);
  let pieces = 0;
  for (const piece of new Lexer().lex(text)) {
    pieces += 1;
    if (pieces > piecesMax) {
      throw new YamlFault(`the YAML has more than ${piecesMax} words and separators`, parser.offset);
    }
    for (const token of parser.next(piece)) {
      documents.push(...composer.next(token));
    }
  }
  for (const token of parser.end()) {
    documents.push(...composer.next(token));
  }
  documents.push(...composer.end(false, text.length));
  return documents;
}

class TreeBuilder {
  private readonly lineOf: (offset: number) => number;
  private readonly anchors = new Map<string, Node | null>();
  private nodes = 0;

  constructor(lineOf: (offset: number) => number) {
    this.lineOf = lineOf;
  }

  build(node: Node | null): YamlNode {
    this.nodes += 1;
    const offset = node?.range?.[0] ?? 0;
    if (this.nodes > nodesMax) {
      throw new YamlFault(`the YAML has more than ${nodesMax} values`, offset);
    }
    if (isAlias(node)) {
      return this.alias(node.source, offset);
    }
    if (node !== null && node.anchor !== undefined) {
      // Null while the node itself is being built: an alias to a parent would never end.
      this.anchors.set(node.anchor, null);
    }
    const built = this.content(node, offset);
    if (node !== null && node.anchor !== undefined) {
      this.anchors.set(node.anchor, node);
    }
    return built;
  }

  private alias(name: string, offset: number): YamlNode {
    const target = this.anchors.get(name);
    if (target === undefined || target === null) {
      throw new YamlFault(
        `alias '*${name}' ${target === null ? "stands inside its own anchor" : "has no anchor"}`,
        offset,
      );
    }
    return this.build(target);
  }

  private content(node: Node | null, offset: number): YamlNode {
    const line = this.lineOf(offset);
    if (isMap(node)) {
      this.refuseTag(node.tag, "tag:yaml.org,2002:map", offset);
      return { kind: "map", line, entries: this.entries(node) };
    }
    if (isSeq(node)) {
      this.refuseTag(node.tag, "tag:yaml.org,2002:seq", offset);
      return { kind: "list", line, items: node.items.map((item) => this.build(item as Node | null)) };
    }
    if (isScalar(node)) {
      const quoted = node.type !== undefined && node.type !== Scalar.PLAIN;
      const source = typeof node.value === "string" ? node.value : "";
      return { kind: "scalar", line, quoted, source, ...this.scalar(source, quoted, node.tag, offset) };
    }
    return { kind: "scalar", line, quoted: false, source: "", value: null, text: "None" };
  }

  private scalar(source: string, quoted: boolean, tag: string | undefined, offset: number): YamlScalarValue {
    let resolved: YamlScalarValue | null;
    try {
      if (tag === undefined) {
        resolved = quoted ? { value: source, text: source } : resolvePlain(source);
      } else {
        resolved = resolveTagged(tag, source);
      }
    } catch (error) {
      throw new YamlFault(messageOf(error), offset);
    }
    if (resolved === null) {
      throw new YamlFault(`tag '${tag}' is not supported`, offset);
    }
    return resolved;
  }

  private refuseTag(tag: string | undefined, own: string, offset: number): void {
    if (tag !== undefined && tag !== own && tag !== "!") {
      throw new YamlFault(`tag '${tag}' is not supported`, offset);
    }
  }

  /** Keys of a merge (`<<`) come first and yield to the mapping's own, whatever their order in the text. */
  private entries(map: YAMLMap): Map<string, YamlEntry> {
    const own = new Map<string, YamlEntry>();
    const merged: YamlNode[] = [];
    for (const pair of map.items) {
      const keyNode = pair.key as Node | null;
      const keyOffset = keyNode?.range?.[0] ?? map.range?.[0] ?? 0;
      const key = this.build(keyNode);
      const node = this.build(pair.value as Node | null);
      if (key.kind !== "scalar") {
        throw new YamlFault("a list or mapping cannot be a key", keyOffset);
      }
      if (!key.quoted && key.value === "<<") {
        merged.push(...(node.kind === "list" ? node.items : [node]));
        continue;
      }
      const earlier = own.get(key.text);
      if (earlier !== undefined) {
        throw new YamlFault(`duplicate key '${key.text}' (first in line ${earlier.keyLine})`, keyOffset);
      }
      own.set(key.text, { key: key.text, keyLine: key.line, node });
    }
    if (merged.length === 0) {
      return own;
    }
    const entries = new Map<string, YamlEntry>();
    for (const source of merged.reverse()) {
      if (source.kind !== "map") {
        throw new YamlFault("'<<' merges mappings only", map.range?.[0] ?? 0);
      }
      source.entries.forEach((entry, key) => entries.set(key, entry));
    }
    own.forEach((entry, key) => entries.set(key, entry));
    return entries;
  }
}

/** The node at a path of keys and indices, or null. */
export function nodeAt(root: YamlNode, path: readonly PropertyKey[]): YamlNode | null {
  let node: YamlNode | undefined = root;
  for (const step of path) {
    if (node?.kind === "map") {
      node = node.entries.get(String(step))?.node;
    } else if (node?.kind === "list") {
      node = node.items[Number(step)];
    } else {
      return null;
    }
  }
  return node ?? null;
}

/** The line of a path: of its key where it exists, else of the nearest parent that does. */
export function lineAt(root: YamlNode, path: readonly PropertyKey[]): number {
  let node: YamlNode = root;
  let line = root.line;
  for (const step of path) {
    if (node.kind === "map") {
      const entry = node.entries.get(String(step));
      if (entry === undefined) {
        return line;
      }
      line = entry.keyLine;
      node = entry.node;
    } else if (node.kind === "list") {
      const item = node.items[Number(step)];
      if (item === undefined) {
        return line;
      }
      line = item.line;
      node = item;
    } else {
      return line;
    }
  }
  return line;
}

/** Plain JavaScript values for a schema to check. Dates stay YamlDate objects, so that no schema takes them for text. */
export function plainValue(node: YamlNode): unknown {
  if (node.kind === "scalar") {
    return node.value;
  }
  if (node.kind === "list") {
    return node.items.map(plainValue);
  }
  return Object.fromEntries([...node.entries.values()].map((entry) => [entry.key, plainValue(entry.node)]));
}
