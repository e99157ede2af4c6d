package Figures;

=head1 NAME

Figures - what a run of the benchmark measured and checked, and its table

=head1 SYNOPSIS

    note_figure('W1 uniform', 'rate', 20_000);      # in each round
    check('every answer is 200', $good, 'what is wrong');

    line('W1', with_spread('W1 uniform', 'rate', '%.0f'),
         med('W1 uniform', 'p99'), $ratio, $goal);
    my @broken = broken();

=cut

use strict;
use warnings;

use Exporter qw(import);
use List::Util qw(max min);

our @EXPORT_OK = qw(
    check checks broken note_figure last_figure figures med progress
    with_spread line best
);

my (%figure, @checks);


sub check {
    my ($name, $good, $detail) = @_;

    push @checks, [ $name, $good, $detail ];
}


sub checks { return scalar @checks }

# [ name, 0, detail ] of each that failed.
sub broken { return grep { !$_->[1] } @checks }


# Keeps one figure of one round.
sub note_figure {
    my ($name, $field, $value) = @_;

    push @{ $figure{$name}{$field} }, $value;
}


sub median {
    my (@values) = sort { $a <=> $b } @_;

    return undef unless @values;

    my $middle = int(@values / 2);

    return @values % 2 ? $values[$middle]
                       : ($values[$middle - 1] + $values[$middle]) / 2;
}


sub figures { return \%figure }
sub last_figure { return $figure{ $_[0] }{ $_[1] }[-1] }
sub med { return median(@{ $figure{ $_[0] }{ $_[1] } // [] }) }


sub progress {
    my ($what, $value) = @_;

    printf "  %-44s %s\n", $what, $value;
}


# The table: the median and, of several rounds, the lowest and the highest.
sub with_spread {
    my ($name, $field, $format) = @_;

    my @values = @{ $figure{$name}{$field} // [] };

    return '' unless @values;

    my $text = sprintf $format, median(@values);

    $text .= sprintf " [$format..$format]", min(@values), max(@values)
        if @values > 1;

    return $text;
}


sub line {
    my ($what, $value, $p99, $ratio, $goal) = @_;

    my $verdict = '';

    if (defined $ratio) {
        $verdict = sprintf '%.2f', $ratio;
        $verdict .= sprintf ' (goal %s: %s)', $goal,
            $ratio >= $goal ? 'met' : 'missed' if defined $goal;
    }

    printf "%-42s %-34s %9s  %s\n", $what, $value,
        defined $p99 ? sprintf('%.2f', $p99) : '', $verdict;
}


sub best {
    my ($prefix, @of) = @_;

    my %rate = map { ($_ => med("$prefix $_", 'rate')) } @of;
    my ($best) = sort { $rate{$b} <=> $rate{$a} } @of;

    return $best;
}


1;
