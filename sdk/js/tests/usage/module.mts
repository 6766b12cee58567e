// How it is used, as the compiler sees it: a module.
import { connect, PushError, type Gap, type Group, type Message, type Options, type Push } from "ringpost";

interface Price {
  symbol: string;
  price: number;
}

const options: Options = {
  token: async () => (await fetch("/token")).text(),
  groups: ["news"],
  storage: sessionStorage,
  ack: "manual",
};
const push: Push = connect(new URL("wss://push.example"), options);
const off: () => void = push.on("message", ({ stream, group, position, data }: Message<Price>) => {
  const symbol: string = data.symbol;
  console.log(stream, group, position, symbol);
});
push.on("message", (message) => push.ack(message));
push.on("gap", (gap: Gap) => console.log(gap.asked, gap.top));
push.on("state", ({ state, wait }) => console.log(state === "waiting" ? wait! / 1000 : state));
push.on("error", (error) => console.log(error instanceof PushError && error.code));
const news: Group = push.group("news");
news.on("presence", ({ joined, left }) => console.log(joined.length - left.length, news.members.has("tom")));
const last = async (): Promise<unknown> => (await news.history({ limit: 1, reverse: true })).messages[0]?.data;
const sent: Promise<void> = push.send({ move: "e4" }, { again: true });
off();

// @ts-expect-error: no such event
push.on("massage", () => {});
// @ts-expect-error: no such option
connect("wss://push.example", { user: "tom" });
// @ts-expect-error: members are only read
news.members.add("eve");

export { last, sent };
