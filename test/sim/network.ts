/**
 * The connections between agents and coordinator in the simulator. A connection delivers in order until it is cut; what
 * is under way then is lost, except for reports, of which some arrive late or twice, even on the next connection. Both
 * ends dial and greet as the real adapters do. Driven by world.ts.
 */
import { agentProtocol, type FromAgent, type ToAgent } from "../../shared/agent-wire.ts";
import type { SimAgent } from "./agent.ts";
import type { SimCoordinator } from "./coordinator.ts";
import type { Truth } from "./truth.ts";

export class Link {
  up = false;
  upSince = 0;
  /** The cable is out: no connection can be made. */
  severed = false;
  readonly agent: SimAgent;
  readonly #truth: Truth;
  readonly #coordinator: SimCoordinator;
  #connection = 0;
  #quietUntil = { up: 0, down: 0 };

  constructor(truth: Truth, coordinator: SimCoordinator, agent: (link: Link) => SimAgent) {
    this.#truth = truth;
    this.#coordinator = coordinator;
    this.agent = agent(this);
  }

  /** Dials if both ends live and there is no connection. Called again and again, as agents do. */
  dial(): void {
    const { state } = this.agent;
    const isRemoved = this.#coordinator.state?.nodes.get(this.agent.name)?.admin.state === "removed";
    if (this.up || this.severed || state === null || this.#coordinator.state === null || isRemoved) {
      return;
    }
    this.up = true;
    this.upSince = this.#truth.clock.now;
    this.#connection += 1;
    this.#truth.note(`${this.agent.name} connects`);
    this.agent.dispatch({ type: "linkUp" });
    const { stateId, epoch, bootId } = state;
    const hello = {
      type: "hello",
      protocol: agentProtocol,
      version: "0",
      node: this.agent.name,
      stateId,
      epoch,
      bootId,
    } as const;
    this.#deliver("up", false, () =>
      this.#coordinator.dispatch({ type: "nodeConnected", node: this.agent.name, hello }),
    );
  }

  /** The connection ends; both ends notice. */
  cut(): void {
    if (!this.up) {
      return;
    }
    this.#truth.note(`${this.agent.name} is cut off`);
    this.up = false;
    this.#connection += 1;
    this.agent.dispatch({ type: "linkDown" });
    this.#coordinator.dispatch({ type: "nodeDisconnected", node: this.agent.name });
  }

  fromAgent(message: FromAgent): void {
    if (!this.up) {
      return;
    }
    const node = this.agent.name;
    if (message.type === "refused") {
      this.#deliver("up", false, () =>
        this.#coordinator.dispatch({ type: "nodeRefused", node, reason: message.reason }),
      );
    } else if (message.type === "renew") {
      const { id } = message;
      this.#deliver("up", false, () => this.#coordinator.dispatch({ type: "renewAsked", node, id }));
    } else if (message.type === "report") {
      const report = (): void => this.#coordinator.dispatch({ type: "nodeReported", node, report: message });
      this.#deliver("up", true, report);
      if (this.#truth.chance.happens(0.05)) {
        this.#deliver("up", false, report);
      }
    }
  }

  toAgent(message: ToAgent): void {
    this.#deliver("down", false, () => {
      switch (message.type) {
        case "welcome":
          return this.agent.dispatch({ type: "welcomed", stateId: message.stateId, epoch: message.epoch });
        case "desired":
          return this.agent.dispatch({ type: "desiredReceived", desired: message });
        case "renewed":
          return this.agent.dispatch({ type: "renewed", id: message.id });
        case "retireSkylet":
          return this.agent.dispatch({ type: "retireRequested", uid: message.uid });
        default:
          return undefined;
      }
    });
  }

  #deliver(direction: "up" | "down", mayBeLate: boolean, run: () => void): void {
    const { clock, chance, calm } = this.#truth;
    const at = Math.max(clock.now + chance.between(1, chance.happens(0.05) ? 500 : 10), this.#quietUntil[direction]);
    this.#quietUntil[direction] = at;
    const connection = this.#connection;
    const isStray = mayBeLate && !calm && chance.happens(0.2);
    clock.after(at - clock.now, () => {
      if (connection === this.#connection || isStray) {
        run();
      }
    });
  }
}
