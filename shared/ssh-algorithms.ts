/**
 * The only SSH algorithms between a node and the coordinator. Both ends are ours, so there is nothing old to be
 * compatible with: ed25519 keys, curve25519, authenticated ciphers, no compression. Weaker ones cannot be negotiated.
 * Used by coordinator/fleet-listen.ts and agent/link.ts, which hand it to ssh2 as it is.
 */

/** Key type of the coordinator's host key and of every node's key. */
export const sshKeyType = "ssh-ed25519";

export const sshAlgorithms = {
  kex: ["curve25519-sha256", "curve25519-sha256@libssh.org"],
  serverHostKey: [sshKeyType],
  cipher: ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com"],
  hmac: ["hmac-sha2-256-etm@openssh.com"],
  compress: ["none"],
} as const;
