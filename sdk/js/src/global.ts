/** For a page's <script>: the global `ringpost`. */

import { connect } from "./index.js";
import { PushError } from "./message.js";

Object.assign(globalThis, { ringpost: { connect, PushError } });
