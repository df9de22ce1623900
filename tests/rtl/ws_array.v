// A weight-stationary array: weights shift down, inputs go right, partial sums go down and out.
module ws_array #(
    parameter ROWS = 4,
    parameter COLS = 4,
    parameter BITS = 8,
    parameter SUM = 32,
    parameter SHADOW = 1,  // 0: the shift moves the weights in use; 1: it moves a second register
    parameter GATED = 1    // 0: it moves all rows of a column; 1: each row until it has its word
) (
    input clock,
    input reset,
    input [COLS*BITS-1:0] weights,
    input weights_valid,
    input weights_first,
    input [ROWS*BITS-1:0] inputs,
    input inputs_valid,
    input inputs_first,
    output reg [COLS*SUM-1:0] results,
    output reg [COLS-1:0] results_valid,
    output reg [COLS-1:0] results_first
);
  localparam WIDTH = BITS + 2;  // valid, first, value
  reg [COLS*WIDTH-1:0] top;
  reg [ROWS*WIDTH-1:0] left;
  wire [COLS*WIDTH-1:0] top_skewed;
  wire [ROWS*WIDTH-1:0] left_skewed;
  skew #(COLS, WIDTH) skew_top (clock, reset, top, top_skewed);
  skew #(ROWS, WIDTH) skew_left (clock, reset, left, left_skewed);

  integer i;
  always @* begin
    for (i = 0; i < COLS; i = i + 1)
      top[i*WIDTH+:WIDTH] = {weights_valid, weights_first, weights[i*BITS+:BITS]};
    for (i = 0; i < ROWS; i = i + 1)
      left[i*WIDTH+:WIDTH] = {inputs_valid, inputs_first, inputs[i*BITS+:BITS]};
  end

  reg [WIDTH-1:0] moving[0:ROWS*COLS-1];       // the input of each PE, on its way right
  reg signed [BITS-1:0] chain[0:ROWS*COLS-1];  // the weights that shift
  reg signed [BITS-1:0] held[0:ROWS*COLS-1];   // with a shadow register: the weights in use
  reg shifted[0:ROWS*COLS-1];                  // with gates: the row shifted at the last edge
  reg signed [SUM-1:0] sums[0:ROWS*COLS-1];

  // What waits at a PE before the edge.
  integer r, c, pe;
  reg load_valid, load_first, shifts, valid, first;
  reg signed [BITS-1:0] load, weight, value;
  reg signed [SUM-1:0] sum;
  always @(posedge clock)
    for (c = 0; c < COLS; c = c + 1) begin
      {load_valid, load_first, load} = top_skewed[c*WIDTH+:WIDTH];
      for (r = 0; r < ROWS; r = r + 1) begin
        pe = r * COLS + c;
        {valid, first, value} = c == 0 ? left_skewed[r*WIDTH+:WIDTH] : moving[pe-1];
        moving[pe] <= reset ? 0 : {valid, first, value};

        // A gated row joins in one edge after the row above; all stop with the fold's last word.
        shifts = load_valid;
        if (GATED && r != 0) shifts = load_valid && !load_first && shifted[pe-COLS];
        shifted[pe] <= !reset && shifts;
        if (reset || shifts) chain[pe] <= reset ? 0 : r == 0 ? load : chain[pe-COLS];

        weight = !SHADOW || first ? chain[pe] : held[pe];
        held[pe] <= weight;
        sum = r == 0 ? 0 : sums[pe-COLS];
        sum = sum + weight * value;
        sums[pe] <= sum;
        if (r == ROWS - 1) begin
          results[c*SUM+:SUM] <= sum;
          results_valid[c] <= !reset && valid;
          results_first[c] <= !reset && first;
        end
      end
    end
endmodule
