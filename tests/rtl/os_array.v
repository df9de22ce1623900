// An output-stationary array: operands go right and down, sums stay, then drain down and out.
module os_array #(
    parameter ROWS = 4,
    parameter COLS = 4,
    parameter BITS = 8,
    parameter SUM = 32,
    parameter PE_DRAIN = 1  // 0: all sums shift down when the last PE is done; 1: drain registers
) (
    input clock,
    input reset,
    input [ROWS*BITS-1:0] lefts,
    input [COLS*BITS-1:0] tops,
    input first_word,
    input last_word,
    output reg [COLS*SUM-1:0] results,  // of each fold the bottom row first
    output reg [COLS-1:0] results_valid,
    output reg [COLS-1:0] results_first
);
  localparam WIDTH = BITS + 2;  // first, last, value
  reg [ROWS*WIDTH-1:0] left;
  wire [ROWS*WIDTH-1:0] left_skewed;
  wire [COLS*BITS-1:0] top_skewed;
  skew #(ROWS, WIDTH) skew_left (clock, reset, left, left_skewed);
  skew #(COLS, BITS) skew_top (clock, reset, tops, top_skewed);

  integer i;
  always @*
    for (i = 0; i < ROWS; i = i + 1)
      left[i*WIDTH+:WIDTH] = {first_word, last_word, lefts[i*BITS+:BITS]};

  reg [WIDTH-1:0] right[0:ROWS*COLS-1];       // the left operand of each PE, on its way right
  reg signed [BITS-1:0] down[0:ROWS*COLS-1];  // the top operand, on its way down
  reg signed [SUM-1:0] sums[0:ROWS*COLS-1];
  reg signed [SUM-1:0] drain[0:ROWS*COLS-1];
  reg shifts[0:ROWS*COLS-1];                  // the drain register takes from above
  reg [31:0] draining;                        // global drain: rows still to leave

  // What waits at a PE before the edge.
  integer r, c, pe;
  reg first, last, fold_done;
  reg signed [BITS-1:0] a, b;
  reg signed [SUM-1:0] above, sum;
  always @(posedge clock) begin
    for (c = 0; c < COLS; c = c + 1) begin
      pe = (ROWS - 1) * COLS + c;
      {first, fold_done, a} = c == 0 ? left_skewed[(ROWS-1)*WIDTH+:WIDTH] : right[pe-1];
      for (r = 0; r < ROWS; r = r + 1) begin
        pe = r * COLS + c;
        {first, last, a} = c == 0 ? left_skewed[r*WIDTH+:WIDTH] : right[pe-1];
        b = r == 0 ? top_skewed[c*BITS+:BITS] : down[pe-COLS];
        right[pe] <= reset ? 0 : {first, last, a};
        down[pe] <= reset ? 0 : b;
        if (PE_DRAIN) begin
          sum = first ? 0 : sums[pe];
          sum = sum + a * b;
          sums[pe] <= sum;
          above = r == 0 ? 0 : drain[pe-COLS];
          if (!last) sum = shifts[pe] ? above : drain[pe];
          drain[pe] <= sum;
          // The bottom row's sum sets the rows below the top moving; each stops one edge after
          // the row above it, and is then free for the next fold.
          if (reset || r == 0) shifts[pe] <= 0;
          else shifts[pe] <= fold_done || shifts[pe-COLS];
        end else begin
          // Zeros come in from above, so that the array is empty after ROWS edges.
          sum = r == 0 ? 0 : sums[pe-COLS];
          if (draining == 0) sum = sums[pe] + a * b;
          sums[pe] <= reset ? 0 : sum;
        end
        if (r == ROWS - 1) begin
          results[c*SUM+:SUM] <= sum;
          if (PE_DRAIN) begin
            results_valid[c] <= !reset && (last || shifts[pe]);
            results_first[c] <= !reset && last;
          end
        end
      end
    end
    // The loops end in the PE that is last to be done.
    if (!PE_DRAIN) begin
      if (reset) draining <= 0;
      else if (last) draining <= ROWS;
      else if (draining != 0) draining <= draining - 1;
      results_valid <= {COLS{!reset && (last || draining > 1)}};
      results_first <= {COLS{!reset && last}};
    end
  end
endmodule
