// The array's bottom edge: counts what leaves each column, adds up the folds of a column block
// where they are partial sums, and prints "edge m n value" of every output.
module collector #(
    parameter ROWS = 4,
    parameter COLS = 4,
    parameter SUM = 32,
    parameter DEPTH = 256,
    parameter PARTIAL = 1  // 1: words are partial sums of m = 0, 1, ...; 0: outputs, bottom row first
) (
    input clock,
    input reset,
    input [31:0] edges,  // taken so far
    input [31:0] steps,  // folds in a column block
    input [COLS*SUM-1:0] results,
    input [COLS-1:0] results_valid,
    input [COLS-1:0] results_first
);
  reg [31:0] step[0:COLS-1], block[0:COLS-1], word[0:COLS-1];
  reg signed [SUM-1:0] bank[0:COLS*DEPTH-1];

  integer c, i;
  initial for (i = 0; i < COLS * DEPTH; i = i + 1) bank[i] = 0;

  reg [31:0] s, b, w;
  reg signed [SUM-1:0] total;
  always @(posedge clock)
    for (c = 0; c < COLS; c = c + 1)
      if (reset) begin
        step[c] <= steps - 1;  // so that the first fold is step 0 of block 0
        block[c] <= -1;
      end else if (results_valid[c]) begin
        s = step[c];
        b = block[c];
        w = word[c] + 1;
        if (results_first[c]) begin
          s = s + 1 == steps ? 0 : s + 1;
          if (s == 0) b = b + 1;
          w = 0;
        end
        step[c] <= s;
        block[c] <= b;
        word[c] <= w;
        total = results[c*SUM+:SUM];
        if (PARTIAL) begin
          if (s != 0) total = total + bank[c*DEPTH+w];
          bank[c*DEPTH+w] <= total;
          if (s + 1 == steps) $display("%0d %0d %0d %0d", edges, w, b * COLS + c, total);
        end else $display("%0d %0d %0d %0d", edges, s * ROWS + ROWS - 1 - w, b * COLS + c, total);
      end
endmodule
