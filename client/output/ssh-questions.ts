/**
 * What a connection may ask the person: whether an unknown host key is right, and a key file's passphrase. The words are
 * OpenSSH's, which people know. A passphrase is never shown, kept or logged. Given to client/ssh by client/main.ts.
 */
import type { Ask } from "../ssh/host-key.ts";
import type { Screen } from "./screen.ts";

/** Asks for the whole word: a key that was not compared must not be trusted by an Enter. */
const triesMax = 3;

/** The questions on this terminal. */
export function sshQuestions(screen: Screen): Ask {
  return {
    interactive: screen.interactive,
    async confirmHostKey(host, keyType, fingerprint) {
      screen.note(`The authenticity of host '${host}' can't be established.`);
      screen.note(`${keyType} key fingerprint is ${fingerprint}.`);
      let question = "Are you sure you want to continue connecting (yes/no)? ";
      for (let tries = 0; tries < triesMax; tries += 1) {
        const answer = (await screen.ask(question))?.trim() ?? "no";
        if (answer === fingerprint || /^yes$/i.test(answer)) {
          return true;
        }
        if (/^no$/i.test(answer)) {
          return false;
        }
        question = "Please type 'yes' or 'no': ";
      }
      return false;
    },
    passphrase: (path) => screen.ask(`Enter passphrase for key '${path}': `, { hidden: true }),
  };
}
