/** Two spellings of one image are one; two images are never. */
import { expect, test } from "vitest";
import { fieldAt } from "./fields.ts";
import { normalImage, sameImage } from "./images.ts";
import { sameValue } from "./values.ts";

const digest = `sha256:${"0a".repeat(32)}`;

test.each([
  ["ubuntu", "docker.io/library/ubuntu:latest"],
  ["docker:ubuntu:24.04", "docker.io/library/ubuntu:24.04"],
  ["index.docker.io/library/ubuntu", "docker.io/library/ubuntu:latest"],
  ["pytorch/pytorch:2.5", "docker.io/pytorch/pytorch:2.5"],
  ["REGISTRY.local:5000/base", "registry.local:5000/base:latest"],
  ["localhost/x", "localhost/x:latest"],
  [`ubuntu:24.04@${digest}`, `docker.io/library/ubuntu@${digest}`],
  ["two words", "two words"],
  ["x@latest", "x@latest"],
])("%s is %s", (name, normal) => {
  expect(normalImage(name)).toBe(normal);
});

test("a tag and a digest are not one, nor are two digests, nor two registries", () => {
  expect(sameImage("ubuntu:24.04", `ubuntu:24.04@${digest}`)).toBe(false);
  expect(sameImage(`ubuntu@${digest}`, `ubuntu@${digest.replaceAll("0a", "0b")}`)).toBe(false);
  expect(sameImage("registry.local/ubuntu", "ubuntu")).toBe(false);
  expect(sameImage("ubuntu", "ubuntu:latest")).toBe(true);
});

test("policies compare images by what they are", () => {
  const spec = fieldAt("image");
  expect(spec !== null && sameValue("ubuntu", "docker.io/library/ubuntu:latest", spec)).toBe(true);
  expect(spec !== null && sameValue("ubuntu", "evil/ubuntu", spec)).toBe(false);
});
