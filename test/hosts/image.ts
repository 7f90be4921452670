/**
 * The base system of the test machines: a minimal Debian (or Ubuntu), of the same release and from the same mirror as
 * this computer's own apt sources, with what machines of a cluster have installed. Made once (about a minute) and kept
 * outside the tree; the machines' own changes lie in layers over it. Nothing may ever write into it. Called by machines.ts.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { must } from "../help/run.ts";

/** Everything that outlives a test lies here: images, prepared clusters, and the worlds that run now. Root's alone. */
export const cacheDir = "/var/cache/sky-onprem-tests";

/** Machines have no way to the internet: what the product's roles expect of a machine is in the image. */
const packages = [
  ...["systemd", "systemd-sysv", "libpam-systemd", "dbus", "procps", "passwd", "iproute2", "iputils-ping", "kmod"],
  ...["openssh-server", "openssh-client", "sudo", "rsync", "redis-server", "python3", "python3-apt", "ca-certificates"],
  ...["git", "less", "util-linux", "bsdutils", "ncurses-base"],
];

interface Source {
  suite: string;
  mirror: string;
  components: string;
}

/** Where this computer's own packages come from, as apt itself reads its sources. */
async function ownSource(): Promise<Source> {
  const release = readFileSync("/etc/os-release", "utf8");
  const suite = /^VERSION_CODENAME=["']?([a-z]+)/m.exec(release)?.[1] ?? "";
  const targets = await must([
    ...["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"],
  ]);
  const rows = targets.split("\n").map((line) => line.split(" "));
  const own = rows.filter(([uri, of, component]) => of === suite && component === "main" && uri !== undefined);
  const uri = own[0]?.[0];
  if (uri === undefined) {
    throw new Error(
      `no apt source of this computer offers '${suite} main'; test machines are made from it:\n${targets}`,
    );
  }
  const components = [...new Set(rows.filter((row) => row[0] === uri && row[1] === suite).map((row) => row[2] ?? ""))];
  return { suite, mirror: plainMirror(uri), components: components.join(",") };
}

/** Cloud images name a file that lists mirrors. */
function plainMirror(uri: string): string {
  const file = /^mirror\+file:\/*(\/[^ ]+?)\/?$/.exec(uri)?.[1];
  return file === undefined ? uri : (/^[a-z]+:\/\/\S+/m.exec(readFileSync(file, "utf8"))?.[0] ?? uri);
}

/** The proxy that apt uses, for debootstrap. */
async function proxy(): Promise<Record<string, string>> {
  const setting = await must(["apt-config", "shell", "PROXY", "Acquire::http::Proxy"]);
  const url = /^PROXY='(.+)'$/m.exec(setting)?.[1] ?? process.env["http_proxy"];
  return url === undefined ? {} : { http_proxy: url };
}

/** The image's folder; made when it is not there yet. */
export async function baseImage(): Promise<string> {
  const script = fileURLToPath(new URL("make-image.sh", import.meta.url));
  const source = await ownSource();
  const recipe = [source.suite, source.components, ...packages, readFileSync(script, "utf8")];
  const key = createHash("sha256").update(recipe.join("\n")).digest("hex").slice(0, 16);
  const image = join(cacheDir, `image-${source.suite}-${key}`);
  mkdirSync(cacheDir, { recursive: true, mode: 0o700 });
  if (!existsSync(image)) {
    const words = [image, source.suite, source.mirror, source.components, packages.join(",")];
    await must(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", script, ...words], {
      env: {
        PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        LANG: "C.UTF-8",
        ...(await proxy()),
      },
      limitMs: 540_000,
    });
  }
  utimesSync(image, new Date(), new Date());
  return image;
}
