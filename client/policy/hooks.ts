/**
 * How the worker of admin policies loads modules: `sky-onprem` is this product's own package, so that policies need not
 * have it in their folder, and types are taken out of TypeScript, which Node 20 does not do. It must never change what a
 * module does. Loaded by client/policy/worker.ts through Node's hooks for modules.
 */
import { readFile } from "node:fs/promises";
import type { LoadHook, ResolveHook } from "node:module";
import { fileURLToPath } from "node:url";
import { transform } from "sucrase";

const packageName = "sky-onprem";
const typed = /\.m?ts$/;

let sdk = "";

/** Called by Node with what `register` was given. */
export function initialize(data: { sdk: string }): void {
  sdk = data.sdk;
}

/** `./x.js` may be written as TypeScript, and an ending may be left out. */
function spellings(specifier: string): string[] {
  if (!/^\.{1,2}\//.test(specifier)) {
    return [];
  }
  const other = specifier.replace(/\.(m?)js$/, ".$1ts");
  return other === specifier ? [`${specifier}.ts`, `${specifier}.mjs`, `${specifier}.js`] : [other];
}

export const resolve: ResolveHook = async (specifier, context, next) => {
  if (specifier === packageName) {
    return { url: sdk, format: "module", shortCircuit: true };
  }
  try {
    return await next(specifier, context);
  } catch (error) {
    for (const other of spellings(specifier)) {
      const found = await Promise.resolve(next(other, context)).catch(() => null);
      if (found !== null) {
        return found;
      }
    }
    throw error;
  }
};

export const load: LoadHook = async (url, context, next) => {
  const { protocol, pathname } = new URL(url);
  if (protocol !== "file:" || !typed.test(pathname)) {
    return next(url, context);
  }
  const filePath = fileURLToPath(url);
  const { code } = transform(await readFile(filePath, "utf8"), {
    transforms: ["typescript"],
    disableESTransforms: true,
    filePath,
  });
  return { format: "module", source: code, shortCircuit: true };
};
