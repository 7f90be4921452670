/**
 * Before and after the `hosts` tests: removes what worlds of killed tests left behind. Called by vitest.
 */
import { sweep } from "./identity.ts";

export async function setup(): Promise<void> {
  await sweep();
}

export async function teardown(): Promise<void> {
  await sweep();
}
