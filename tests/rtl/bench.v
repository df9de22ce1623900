// One product on one array: operand memories, sequencers, the array, and the collector's print.
//
//   +top=FILE +left=FILE    the operands' words in the order of folds, one hex line a word
//   +folds=F +steps=P       folds in all, and in a column block
//   +interval=I +stream=S   edges between folds, words that each streams
//   +edges=E                edges to run
module bench #(
    parameter ROWS = 4,
    parameter COLS = 4,
    parameter VARIANT = 2,  // ws: 0 single, 1 shadow-broadcast, 2 shadow-gated;
                            // os: 3 global-drain, 4 pe-drain
    parameter BITS = 8,
    parameter SUM = 32,
    parameter WORDS = 4096,  // of an operand memory
    parameter DEPTH = 256    // of an accumulator bank
);
  localparam OS = VARIANT > 2;
  reg clock = 0, reset = 1;
  reg [31:0] folds, steps, interval, stream, edges, last_edge;
  reg [COLS*BITS-1:0] top[0:WORDS-1];
  reg [ROWS*BITS-1:0] left[0:WORDS-1];
  reg [8*1024-1:0] file;

  // Weights take as many edges as there are rows, and the inputs wait for them.
  wire [31:0] top_length = OS ? stream : ROWS;
  wire [31:0] top_step, top_block, top_word, left_step, left_block, left_word;
  wire top_valid, top_first, top_last, left_valid, left_first, left_last;
  sequencer top_sequencer (
      clock, reset, folds, steps, interval, top_length,
      top_step, top_block, top_word, top_valid, top_first, top_last
  );
  sequencer #(OS ? 0 : ROWS) left_sequencer (
      clock, reset, folds, steps, interval, stream,
      left_step, left_block, left_word, left_valid, left_first, left_last
  );
  // An OS array meets one top tile per column block, a WS array another one in every fold.
  wire [31:0] top_tile = OS ? top_block : top_block * steps + top_step;
  wire [COLS*BITS-1:0] top_now = top_valid ? top[top_tile*top_length+top_word] : 0;
  wire [ROWS*BITS-1:0] left_now = left_valid ? left[left_step*stream+left_word] : 0;

  wire [COLS*SUM-1:0] results;
  wire [COLS-1:0] results_valid, results_first;
  generate
    if (OS)
      os_array #(ROWS, COLS, BITS, SUM, VARIANT == 4) array (
          clock, reset, left_now, top_now, left_first, left_last,
          results, results_valid, results_first
      );
    else
      ws_array #(ROWS, COLS, BITS, SUM, VARIANT != 0, VARIANT == 2) array (
          clock, reset, top_now, top_valid, top_first, left_now, left_valid, left_first,
          results, results_valid, results_first
      );
  endgenerate
  collector #(ROWS, COLS, SUM, DEPTH, !OS) out (
      clock, reset, edges, steps, results, results_valid, results_first
  );

  always @(posedge clock) edges <= reset ? 0 : edges + 1;

  integer given;
  initial begin
    given = $value$plusargs("folds=%d", folds) + $value$plusargs("steps=%d", steps)
        + $value$plusargs("interval=%d", interval) + $value$plusargs("stream=%d", stream)
        + $value$plusargs("edges=%d", last_edge);
    if (given != 5) $fatal(1, "wanted +folds +steps +interval +stream +edges");
    if (!$value$plusargs("top=%s", file)) $fatal(1, "wanted +top");
    $readmemh(file, top, 0, (OS ? folds / steps * stream : folds * ROWS) - 1);
    if (!$value$plusargs("left=%s", file)) $fatal(1, "wanted +left");
    $readmemh(file, left, 0, steps * stream - 1);
    repeat (2) #1 clock = !clock;
    reset = 0;
    while (edges <= last_edge) #1 clock = !clock;
    $finish;
  end
endmodule
