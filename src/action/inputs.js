// @ts-check
// What the workflow gave: inputs as text, secrets by name, and the job's context. Nothing is judged here: unknown and
// contradictory inputs are refused by the program, before it changes anything.

/**
 * @typedef {object} Given
 * @property {Record<string, string>} inputs by their names in action.yml, the token left out
 * @property {Record<string, string>} secrets values that must not leave, by name
 * @property {Record<string, string>} context variables of the job that are no secrets
 * @property {string[]} warnings
 */

const INPUT = "INPUT_";
const SECRET = "EBBGATE_SECRET_";
/** Credentials that the runner gives to actions. */
const RUNNER_SECRETS = ["ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"];
/** Addresses that the runner's own services have in this job, and the image it was started from. */
const CONTEXT = [
  "ACTIONS_CACHE_URL",
  "ACTIONS_CACHE_SERVICE_V2",
  "ACTIONS_ID_TOKEN_REQUEST_URL",
  "ACTIONS_RESULTS_URL",
  "ACTIONS_RUNTIME_URL",
  "ImageOS",
  "ImageVersion",
];

/** Whose host says where credentials of a kind belong: servers of one's own. Those of the runner's are context already. */
const HOSTS = [
  "ARTIFACTORY_URL", "AUTH0_DOMAIN", "AWS_ENDPOINT_URL", "CI_SERVER_URL", "CODECOV_URL", "DATABRICKS_HOST", "DEVELOCITY_URL",
  "DRONE_SERVER", "FTP_SERVER", "GITEA_SERVER_URL", "GITLAB_HOST", "GRAFANA_URL", "INFISICAL_API_URL", "JF_URL",
  "NPM_CONFIG_REGISTRY", "OPENSHIFT_SERVER", "PULUMI_BACKEND_URL", "SENTRY_URL", "SF_INSTANCE_URL", "SONAR_HOST_URL", "SPLUNK_URL",
  "SRC_ENDPOINT", "SSH_HOST", "SUPABASE_URL", "TFE_HOSTNAME", "TURBO_API", "VAULT_ADDR", "WANDB_BASE_URL",
];

/**
 * @param {NodeJS.ProcessEnv} environment
 * @returns {Given}
 */
export function given(environment) {
  /** @type {Given} */
  const result = { inputs: {}, secrets: {}, context: {}, warnings: [] };
  for (const [name, value = ""] of Object.entries(environment)) {
    if (name.startsWith(INPUT)) result.inputs[name.slice(INPUT.length).toLowerCase()] = value;
    if (name.startsWith(SECRET)) addSecret(result, name.slice(SECRET.length), value);
  }
  const token = result.inputs["token"] || environment["GITHUB_TOKEN"] || "";
  delete result.inputs["token"];
  if (token) result.secrets["GITHUB_TOKEN"] = token;
  for (const name of RUNNER_SECRETS) {
    const value = environment[name];
    if (value) result.secrets[name] = value;
  }
  const secrets = Object.values(result.secrets);
  for (const [name, value = ""] of Object.entries(environment)) {
    const told = HOSTS.includes(name) ? hostIn(value) : isContext(name) ? value : "";
    if (told && !secrets.some((secret) => holds(told, secret))) result.context[name] = told;
  }
  return result;
}

/**
 * @param {Given} result
 * @param {string} name
 * @param {string} value
 */
function addSecret(result, name, value) {
  if (!name) result.warnings.push(`\`${SECRET}\` needs a name after it; its value is not watched for.`);
  else if (value) result.secrets[name] = value;
  else result.warnings.push(`\`${SECRET}${name}\` is empty: the workflow may not have this secret here, so nothing is watched for.`);
}

/**
 * @param {string} value
 * @param {string} secret
 * @returns {boolean} whether it is or contains the secret; short ones are in too much to be looked for inside
 */
function holds(value, secret) {
  return value === secret || (secret.length >= 8 && value.includes(secret));
}

/**
 * @param {string} value a URL, which may hold a password, or a host
 * @returns {string} the host alone, "" when there is none
 */
function hostIn(value) {
  try {
    return new URL(value.includes("://") ? value : `https://${value}`).hostname;
  } catch {
    return "";
  }
}

/** @param {string} name */
function isContext(name) {
  if (CONTEXT.includes(name)) return true;
  return /^(GITHUB|RUNNER)_/u.test(name) && !/TOKEN|SECRET|PASSWORD|CREDENTIAL|_KEY$/u.test(name);
}
