/**
 * Brings the Google credentials of the user's machine into every task. It does so where it runs for the user
 * (`admin_policy` in ~/.sky/config.yaml, the module in ~/.sky/policies); at the server it makes sure that it did.
 */
import * as sky from "sky-onprem";

const appliedVariable = "SKYPILOT_LOCAL_GCP_CREDENTIALS_SET";
const policyVersion = "v1";
const keyFile = "/tmp/google_application_credentials.json";

function brought(task: sky.Task): void {
  const credentials = process.env["GOOGLE_APPLICATION_CREDENTIALS"];
  if (credentials === undefined || credentials === "") {
    // The whole folder, so that the task is who the user is here.
    task.updateFileMounts({ "~/.config/gcloud": "~/.config/gcloud" });
  } else {
    task.updateFileMounts({ [keyFile]: credentials });
    const activate = `gcloud auth activate-service-account --key-file ${keyFile}`;
    task.setRun(task.run === null ? activate : `${activate} && ${task.run}`);
  }
  task.updateEnvs({ [appliedVariable]: policyVersion });
}

export class UseLocalGcpCredentialsPolicy extends sky.AdminPolicy {
  static override validateAndMutate({ task, skypilotConfig, atClientSide }: sky.UserRequest): sky.MutatedUserRequest {
    if (atClientSide) {
      brought(task);
    } else {
      const applied = task.envs[appliedVariable];
      if (applied === undefined) {
        throw new sky.RuntimeError(
          `Policy ${this.name} was not applied at client-side. Please install the policy and retry.`,
        );
      }
      if (applied !== policyVersion) {
        throw new sky.RuntimeError(
          `Policy ${this.name} at ${applied} was applied at client-side but the server requires ${policyVersion} ` +
            "to be applied. Please upgrade the policy and retry.",
        );
      }
    }
    return new sky.MutatedUserRequest(task, skypilotConfig);
  }
}
