// Numbers as people read them.

export const count = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  for (; value >= 1_000 && at < units.length - 1; at += 1) value /= 1_000;
  const short = at && value < 10 && value % 1 ? value.toFixed(1) : count.format(value);
  return `${short} ${units[at]}`;
}

export function duration(seconds) {
  const parts = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];
  if (seconds < 1) return "0 s";
  const first = Math.max(0, parts.findIndex(([, size]) => seconds >= size));
  const [name, size] = parts[first];
  const next = parts[first + 1];
  const rest = next ? Math.floor((seconds % size) / next[1]) : 0;
  return `${Math.floor(seconds / size)} ${name}${rest ? ` ${rest} ${next[0]}` : ""}`;
}

/** How long ago a moment was, by this machine's clock. */
export const ago = (moment) => duration(Math.max(0, (Date.now() - Date.parse(moment)) / 1_000));
