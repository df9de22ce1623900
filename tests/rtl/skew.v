// A triangle of registers: lane i is delayed by i edges, so that operands meet in the array.
module skew #(
    parameter LANES = 4,
    parameter WIDTH = 8
) (
    input clock,
    input reset,
    input [LANES*WIDTH-1:0] words,
    output [LANES*WIDTH-1:0] skewed
);
  reg [WIDTH-1:0] line[0:LANES*LANES-1];
  reg [LANES*WIDTH-1:0] late;  // the last register of each lane; lane 0 has none
  integer i, d;
  assign skewed = late | words[WIDTH-1:0];

  always @(posedge clock)
    for (i = 0; i < LANES; i = i + 1) begin
      for (d = 1; d < i; d = d + 1)
        line[i*LANES+d] <= reset ? 0 : d == 1 ? words[i*WIDTH+:WIDTH] : line[i*LANES+d-1];
      late[i*WIDTH+:WIDTH] <= reset || i == 0 ? 0
          : i == 1 ? words[i*WIDTH+:WIDTH] : line[i*LANES+i-1];
    end
endmodule
