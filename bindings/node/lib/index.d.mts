// The same types for `import`.

export * from './index.js';
import * as tally from './index.js';
export default tally;
