/**
 * What the coordinator says on the control channel and what becomes of it, and how this node greets: frames become events
 * of the core, wishes about streams, keys and vitals. It must never decide about an attempt: the core does. Made by
 * agent/agent.ts for agent/link.ts.
 */
import type { Logger } from "pino";
import type { FromAgent, Hello, ToAgent, Vitals } from "../shared/agent-wire.ts";
import { assertNever } from "../shared/errors.ts";
import type { AgentConfig } from "./config.ts";
import type { Inspections } from "./inspections.ts";
import type { Ledger } from "./ledger.ts";
import type { LinkOwner } from "./link.ts";
import type { AgentLoop } from "./loop.ts";
import { followKeyWish, type NodeKey } from "./node-key.ts";
import type { Installed } from "./skylet-starts.ts";
import type { Payloads } from "./payloads.ts";
import type { Skylets } from "./skylets.ts";
import { startVitals } from "./vitals.ts";

/** The first wire protocol that has vitals. */
const vitalsProtocol = 2;

export interface OrdersParts {
  key: NodeKey;
  /** Ends the present connection and dials anew. */
  redial(): void;
  sendCoordinator(message: FromAgent): void;
  config: AgentConfig;
  ledger: Ledger;
  loop: AgentLoop;
  skylets: Skylets;
  payloads: Payloads;
  installed: Installed;
  inspections: Pick<Inspections, "start">;
  /** How busy the accelerators are. */
  use(): Promise<Vitals["devices"]>;
  log: Logger;
}

/** The coordinator's orders on one agent, over all of its connections. */
export class Orders implements LinkOwner {
  readonly #parts: OrdersParts;
  readonly #vitals: { now(): void; stop(): void };
  /** What the coordinator of the present connection may be sent: 1 until it has said more. */
  #protocol = 1;
  #toldVitals = false;

  constructor(parts: OrdersParts) {
    this.#parts = parts;
    const { state } = parts.loop;
    this.#vitals = startVitals({
      folder: parts.config.state_dir,
      skylets: () => [...state.skylets.values()].filter((skylet) => skylet.state === "ready").length,
      devices: () => parts.use(),
      wanted: () => this.#protocol >= vitalsProtocol && state.link === "accepted",
      send: (message) => parts.sendCoordinator(message),
    });
  }

  stop(): void {
    this.#vitals.stop();
  }

  async hello(): Promise<Hello> {
    const { config, ledger, loop, log, installed } = this.#parts;
    const { version } = installed;
    const { state } = loop;
    const identity = await ledger.readIdentity();
    if (identity.stateId !== null && state.stateId !== null && identity.stateId !== state.stateId) {
      log.warn({ state: identity.stateId }, "another coordinator's state was confirmed by an admin");
      loop.dispatch({ type: "identityConfirmed", stateId: identity.stateId, epoch: identity.epoch });
      await loop.idle();
    }
    const { stateId, epoch, bootId } = state;
    return { type: "hello", protocol: 1, version, node: config.node, stateId, epoch, bootId };
  }

  onUp(localAddress: string): void {
    const { config, loop } = this.#parts;
    const { state } = loop;
    if (config.address === undefined && localAddress !== "" && localAddress !== state.inventory.address) {
      const inventory = { ...state.inventory, address: localAddress };
      loop.dispatch({ type: "inventoryChanged", inventory, warnings: state.warnings });
    }
    loop.dispatch({ type: "linkUp" });
  }

  onDown(): void {
    this.#protocol = 1;
    this.#toldVitals = false;
    this.#parts.payloads.clear();
    this.#parts.loop.dispatch({ type: "linkDown" });
  }

  onMessage(message: ToAgent): void {
    const { config, loop, skylets, log } = this.#parts;
    const { state } = loop;
    switch (message.type) {
      case "welcome":
        this.#protocol = message.protocol;
        if (message.node === config.node) {
          loop.dispatch({ type: "welcomed", stateId: message.stateId, epoch: message.epoch });
        } else {
          log.error({ named: message.node }, "the coordinator takes this node for another one");
        }
        return;
      case "desired":
        this.#parts.payloads.prune(message);
        loop.dispatch({ type: "desiredReceived", desired: message });
        if (!this.#toldVitals) {
          this.#toldVitals = true;
          this.#vitals.now();
        }
        return;
      case "payloads":
        this.#parts.payloads.keep(message);
        return;
      case "retireSkylet":
        loop.dispatch({ type: "retireRequested", uid: message.uid });
        return;
      case "openStream":
      case "inspect":
        if (state.link !== "accepted") {
          // Said at once: whoever waits for it asks again, and a moment later the answer may be another.
          const error = `node ${config.node} takes no orders from this coordinator ${state.link === "refused" ? "until an admin confirms it" : "yet"}.`;
          this.#parts.sendCoordinator({ type: "streamFailed", id: message.id, error });
        } else if (message.type === "inspect") {
          void this.#parts.inspections.start(message);
        } else {
          skylets.openStream(message);
        }
        return;
      case "makeKey":
      case "useKey":
        void followKeyWish(this.#parts, message);
        return;
      case "renewed":
        loop.dispatch({ type: "renewed", id: message.id });
        return;
      default:
        assertNever(message);
    }
  }
}
