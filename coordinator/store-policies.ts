/**
 * What the store holds of policies: the newest revision of each by name, and all revisions of each in a hash of its own,
 * written in one transaction, so that a crash leaves both or neither; assets and exceptions; secrets of projects, sealed.
 * It must never leave out a damaged policy in silence: it is named, and nothing is allowed until an admin has saved it
 * anew. Part of the store; called by coordinator/store.ts only.
 */
import type * as z from "zod";
import { messageOf } from "../shared/errors.ts";
import type { Log } from "./log.ts";
import {
  type LoadedPolicies,
  type PolicyRevision,
  type PolicyStore,
  revisionSchema,
  type SecretName,
  secretNameSchema,
  type SecretValues,
  secretValuesSchema,
  type StoredAsset,
  type StoredException,
  storedAssetSchema,
  storedExceptionSchema,
} from "./policy/policy-store.ts";
import { failOnError } from "./queue-records.ts";
import type { RedisLink } from "./redis.ts";
import type { Secrets } from "./secrets.ts";

/** name → newest PolicyRevision; number → PolicyRevision; id → asset; id → exception; `PROJECT/NAME` → sealed values. */
const newestKey = "sky-policies";
const revisionsKey = (name: string): string => `sky-policy-revisions:${name}`;
const assetsKey = "sky-policy-assets";
const exceptionsKey = "sky-policy-exceptions";
const secretsKey = "sky-policy-secrets";
/** Revisions of one policy that are kept. */
const revisionsMax = 1_000;

/** `PROJECT/NAME`, `/NAME` for everybody's: neither name may hold a slash. */
const secretField = ({ project, name }: SecretName): string => `${project ?? ""}/${name}`;
const secretContext = (field: string): string => `policy secret ${field}`;

export class PolicyRecords implements PolicyStore {
  readonly #link: RedisLink;
  readonly #secrets: Secrets;
  readonly #log: Log;

  constructor(link: RedisLink, secrets: Secrets, log: Log) {
    this.#link = link;
    this.#secrets = secrets;
    this.#log = log;
  }

  async load(): Promise<LoadedPolicies> {
    const newest = await this.#entries(newestKey, revisionSchema);
    const assets = await this.#entries(assetsKey, storedAssetSchema);
    const exceptions = await this.#entries(exceptionsKey, storedExceptionSchema);
    const misplaced = [...newest.found].filter(([name, revision]) => revision.name !== name).map(([name]) => name);
    for (const name of misplaced) {
      this.#log.error({ key: newestKey, field: name, cause: "it is another policy's" }, "a damaged entry of a policy");
      newest.found.delete(name);
    }
    return {
      newest: [...newest.found.values()],
      damaged: [...newest.damaged, ...misplaced].sort(),
      assets: [...assets.found.values()],
      exceptions: [...exceptions.found.values()],
    };
  }

  async save(revision: PolicyRevision): Promise<void> {
    const text = JSON.stringify(revisionSchema.parse(revision));
    await this.#link.run(`storing policy ${revision.name}`, async () => {
      const transaction = this.#link.client.multi();
      transaction.hset(newestKey, revision.name, text);
      transaction.hset(revisionsKey(revision.name), String(revision.revision), text);
      transaction.hdel(revisionsKey(revision.name), String(revision.revision - revisionsMax));
      failOnError(await transaction.exec());
    });
  }

  async revisions(name: string): Promise<{ revisions: PolicyRevision[]; damaged: number[] }> {
    const { found, damaged } = await this.#entries(revisionsKey(name), revisionSchema);
    return {
      revisions: [...found.values()].sort((a, b) => b.revision - a.revision),
      damaged: damaged.map(Number),
    };
  }

  saveAsset(id: string, asset: StoredAsset | null): Promise<void> {
    return this.#save(assetsKey, id, asset === null ? null : JSON.stringify(storedAssetSchema.parse(asset)));
  }

  saveException(id: string, exception: StoredException | null): Promise<void> {
    const text = exception === null ? null : JSON.stringify(storedExceptionSchema.parse(exception));
    return this.#save(exceptionsKey, id, text);
  }

  async secret(name: SecretName): Promise<SecretValues | null> {
    const field = secretField(name);
    const sealed = await this.#link.run("reading a project's secret", () =>
      this.#link.client.hgetBuffer(secretsKey, field),
    );
    return sealed === null ? null : this.#open(field, sealed);
  }

  saveSecret(name: SecretName, values: SecretValues | null): Promise<void> {
    const field = secretField(secretNameSchema.parse(name));
    const text = values === null ? null : JSON.stringify(secretValuesSchema.parse(values));
    return this.#save(secretsKey, field, text === null ? null : this.#secrets.seal(text, secretContext(field)));
  }

  async secretNames(): Promise<(SecretName & { keys: string[] })[]> {
    const sealed = await this.#link.run("reading projects' secrets", () => this.#link.client.hgetallBuffer(secretsKey));
    return Object.entries(sealed)
      .map(([field, bytes]) => {
        const slash = field.indexOf("/");
        const project = slash <= 0 ? null : field.slice(0, slash);
        const keys = Object.keys(this.#open(field, bytes) ?? {}).sort();
        return { project, name: field.slice(slash + 1), keys };
      })
      .sort((a, b) => (secretField(a) < secretField(b) ? -1 : 1));
  }

  #open(field: string, sealed: Buffer): SecretValues | null {
    try {
      return secretValuesSchema.parse(JSON.parse(this.#secrets.open(sealed, secretContext(field))));
    } catch {
      // The cause could quote the content.
      this.#log.error({ key: secretsKey, field }, "a project's secret is damaged");
      return null;
    }
  }

  async #save(key: string, field: string, value: string | Buffer | null): Promise<void> {
    await this.#link.run(`storing ${key} ${field}`, () =>
      value === null ? this.#link.client.hdel(key, field) : this.#link.client.hset(key, field, value),
    );
  }

  async #entries<Value>(
    key: string,
    schema: z.ZodType<Value>,
  ): Promise<{ found: Map<string, Value>; damaged: string[] }> {
    const texts = await this.#link.run(`reading ${key}`, () => this.#link.client.hgetall(key));
    const found = new Map<string, Value>();
    const damaged: string[] = [];
    for (const [field, text] of Object.entries(texts)) {
      try {
        found.set(field, schema.parse(JSON.parse(text)));
      } catch (error) {
        this.#log.error({ key, field, cause: messageOf(error).slice(0, 300) }, "a damaged entry of the policies");
        damaged.push(field);
      }
    }
    return { found, damaged };
  }
}
