// Whether a batch of events is genuine and fresh: node verify.js SECRETFILE SIGNATURE < BODY
const { createHmac, timingSafeEqual } = require("node:crypto");
const { readFileSync } = require("node:fs");

function isGenuine(secret, signature, body) {
  const parts = Object.fromEntries(signature.split(",").map((part) => part.split("=")));
  const mac = createHmac("sha256", secret).update(`${parts.t}.`).update(body).digest();
  const given = Buffer.from(parts.v1 ?? "", "hex");
  return given.length === 32 && timingSafeEqual(mac, given) && Math.abs(Date.now() / 1000 - parts.t) < 300;
}

const [file, signature] = process.argv.slice(2);
process.exit(isGenuine(readFileSync(file, "utf8").trim(), signature, readFileSync(0)) ? 0 : 1);
