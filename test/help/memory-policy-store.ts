/**
 * A store of policies that keeps its promises in memory, for tests of the API and of the policy rooms. `damaged` plays an
 * entry that cannot be read. Nothing but tests may import this.
 */
import type {
  LoadedPolicies,
  PolicyRevision,
  PolicyStore,
  SecretName,
  SecretValues,
  StoredAsset,
  StoredException,
} from "../../coordinator/policy/policy-store.ts";

export class MemoryPolicyStore implements PolicyStore {
  readonly all = new Map<string, PolicyRevision[]>();
  readonly assets = new Map<string, StoredAsset>();
  readonly exceptions = new Map<string, StoredException>();
  readonly secrets = new Map<string, SecretValues>();
  damaged: string[] = [];

  async load(): Promise<LoadedPolicies> {
    const newest = [...this.all.values()].flatMap((revisions) => revisions.slice(0, 1));
    return {
      newest: newest.filter(({ name }) => !this.damaged.includes(name)),
      damaged: this.damaged,
      assets: [...this.assets.values()],
      exceptions: [...this.exceptions.values()],
    };
  }
  async save(revision: PolicyRevision): Promise<void> {
    this.all.set(revision.name, [revision, ...(this.all.get(revision.name) ?? [])]);
    this.damaged = this.damaged.filter((name) => name !== revision.name);
  }
  async revisions(name: string): Promise<{ revisions: PolicyRevision[]; damaged: number[] }> {
    return { revisions: this.all.get(name) ?? [], damaged: [] };
  }
  async saveAsset(id: string, asset: StoredAsset | null): Promise<void> {
    keep(this.assets, id, asset);
  }
  async saveException(id: string, exception: StoredException | null): Promise<void> {
    keep(this.exceptions, id, exception);
  }
  async secret({ project, name }: SecretName): Promise<SecretValues | null> {
    return this.secrets.get(`${project ?? ""}/${name}`) ?? null;
  }
  async saveSecret({ project, name }: SecretName, values: SecretValues | null): Promise<void> {
    keep(this.secrets, `${project ?? ""}/${name}`, values);
  }
  async secretNames(): Promise<(SecretName & { keys: string[] })[]> {
    return [...this.secrets].map(([field, values]) => {
      const [project = "", name = ""] = field.split("/");
      return { project: project === "" ? null : project, name, keys: Object.keys(values) };
    });
  }
}

function keep<Value>(map: Map<string, Value>, key: string, value: Value | null): void {
  if (value === null) {
    map.delete(key);
  } else {
    map.set(key, value);
  }
}
