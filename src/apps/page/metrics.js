// The server's metrics, read from the text that Prometheus reads.

const SAMPLE = /^(ringpost_[a-z_]+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-z_]+)="((?:[^"\\]|\\.)*)"/g;
/** Cores of one server, at most; what claims more is not ours. */
const CORES_MAX = 1_024;

/** What of a core is shown, by the metric that has it. */
const OF_CORE = {
  ringpost_received_messages_total: "messagesIn",
  ringpost_sent_messages_total: "messagesOut",
  ringpost_received_bytes_total: "bytesIn",
  ringpost_sent_bytes_total: "bytesOut",
  ringpost_turn_duration_seconds_sum: "busy",
  ringpost_outbox_bytes: "waiting",
  ringpost_connections: "connections",
};

/** What one scrape says: the server's figures, each core's, and how many connections ended for which reason. */
export function readMetrics(text) {
  const seen = { cores: [], closes: new Map(), version: "", driver: "", uptime: 0, startedAt: 0, upgrades: 0 };
  for (const line of text.split("\n")) {
    const found = SAMPLE.exec(line);
    if (found) take(seen, found[1], labelsOf(found[2] ?? ""), Number(found[3]));
  }
  return seen;
}

function take(seen, name, labels, value) {
  if (name in OF_CORE) {
    // The HTTP ports' connections are those of whoever looks.
    if (labels.app !== "http") coreOf(seen, Number(labels.core))[OF_CORE[name]] += value;
  } else if (name === "ringpost_closes_total") {
    seen.closes.set(labels.reason, value);
  } else if (name === "ringpost_build_info") {
    seen.version = labels.version;
  } else if (name === "ringpost_driver_info") {
    seen.driver = labels.connections;
  } else if (name === "ringpost_uptime_seconds") {
    seen.uptime = value;
  } else if (name === "ringpost_upgrades_total" && labels.result === "done") {
    seen.upgrades = value;
  } else if (name === "ringpost_start_time_seconds") {
    seen.startedAt = value;
  }
}

function coreOf(seen, number) {
  if (!(number >= 0 && number < CORES_MAX)) return {};
  while (seen.cores.length <= number) {
    seen.cores.push(Object.fromEntries(Object.values(OF_CORE).map((figure) => [figure, 0])));
  }
  return seen.cores[number];
}

function labelsOf(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(LABEL)) {
    labels[name] = value.replace(/\\(.)/g, (_, character) => (character === "n" ? "\n" : character));
  }
  return labels;
}
