// Addresses the operand words of one side of the array: a fold begins every `interval` edges,
// whether or not the array is ready for it.
module sequencer #(
    parameter DELAY = 0  // edges by which this side waits for the other
) (
    input clock,
    input reset,
    input [31:0] folds,
    input [31:0] steps,     // folds in a column block
    input [31:0] interval,
    input [31:0] length,    // words in a fold
    output reg [31:0] step,
    output reg [31:0] block,
    output reg [31:0] word,
    output valid,
    output first,
    output last
);
  reg [31:0] waiting, fold;
  assign valid = !reset && waiting == 0 && word < length;
  assign first = valid && word == 0;
  assign last = valid && word + 1 == length;

  always @(posedge clock)
    if (reset) begin
      waiting <= DELAY;
      fold <= 0;
      step <= 0;
      block <= 0;
      word <= 0;
    end else if (waiting != 0) waiting <= waiting - 1;
    else if (word + 1 == interval && fold + 1 != folds) begin
      fold <= fold + 1;
      step <= step + 1 == steps ? 0 : step + 1;
      block <= step + 1 == steps ? block + 1 : block;
      word <= 0;
    end else word <= word + 1;
endmodule
